"""From a model and images to the answer, and what one makes of it: pictures, boxes, figures, a folder on disk."""

from vitcam.explaining.animating import Animation, animation
from vitcam.explaining.bands import names_of
from vitcam.explaining.batches import AnyModel
from vitcam.explaining.decomposition import Decomposition, decompose
from vitcam.explaining.explain import Comparison, compare, explain
from vitcam.explaining.explanation import Explanation
from vitcam.explaining.figures import drawn_size, figure
from vitcam.explaining.heads import attention_heads
from vitcam.explaining.inspection import Inspection, inspect
from vitcam.explaining.several import explain_each
from vitcam.explaining.storing import load
from vitcam.explaining.targets import Targets, score_of

__all__ = [
    "Animation",
    "AnyModel",
    "Comparison",
    "Decomposition",
    "Explanation",
    "Inspection",
    "Targets",
    "animation",
    "attention_heads",
    "compare",
    "decompose",
    "drawn_size",
    "explain",
    "explain_each",
    "figure",
    "inspect",
    "load",
    "names_of",
    "score_of",
]
