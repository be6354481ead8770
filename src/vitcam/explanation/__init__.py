"""The answer to "where did it look?", and what one makes of it: pictures, boxes, a folder on disk."""

from vitcam.explanation.comparison import Comparison
from vitcam.explanation.explanation import Explanation
from vitcam.explanation.figures import figure
from vitcam.explanation.storing import load

__all__ = ["Comparison", "Explanation", "figure", "load"]
