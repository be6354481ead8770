"""Records what happens inside a Vision Transformer; the only room that touches torch's internals."""

from vitcam.recording.attention import Attention
from vitcam.recording.fast_linear import fast_linear, transposed_linear
from vitcam.recording.layerwise import LayerGradients
from vitcam.recording.layout import Layout, Overrides
from vitcam.recording.norm import BlockNorm, laid_in_rows
from vitcam.recording.output import find_logits, logits_of
from vitcam.recording.recorder import record
from vitcam.recording.recording import Need, Precision, Recording
from vitcam.recording.score import Score

__all__ = [
    "Attention",
    "BlockNorm",
    "LayerGradients",
    "Layout",
    "Need",
    "Overrides",
    "Precision",
    "Recording",
    "Score",
    "fast_linear",
    "find_logits",
    "laid_in_rows",
    "logits_of",
    "record",
    "transposed_linear",
]
