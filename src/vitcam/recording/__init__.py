"""Records what happens inside a Vision Transformer; the only room that touches torch's internals."""

from vitcam.recording.attention import Attention
from vitcam.recording.binding import Inputs
from vitcam.recording.fast_linear import fast_linear, transposed_linear
from vitcam.recording.layerwise import LayerGradients
from vitcam.recording.layout import CallSite, Layout, Overrides
from vitcam.recording.norm import BlockNorm
from vitcam.recording.output import find_logits, logits_of
from vitcam.recording.passes import refuse_in_place
from vitcam.recording.places import cells
from vitcam.recording.recorder import record
from vitcam.recording.recording import Need, Precision, Recording
from vitcam.recording.score import Score

__all__ = [
    "Attention",
    "BlockNorm",
    "CallSite",
    "Inputs",
    "LayerGradients",
    "Layout",
    "Need",
    "Overrides",
    "Precision",
    "Recording",
    "Score",
    "cells",
    "fast_linear",
    "find_logits",
    "logits_of",
    "record",
    "refuse_in_place",
    "transposed_linear",
]
