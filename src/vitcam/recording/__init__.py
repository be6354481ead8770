"""Records what happens inside a Vision Transformer; the only room that touches torch's internals."""

from vitcam.recording.attention import Attention
from vitcam.recording.binding import Inputs
from vitcam.recording.gradients import LayerGradients, refuse_in_place
from vitcam.recording.layout import CallSite, Layout, Overrides, cells
from vitcam.recording.norm import BlockNorm
from vitcam.recording.onednn import fast_linear, transposed_linear
from vitcam.recording.recorder import record
from vitcam.recording.recording import Need, Recording
from vitcam.recording.running import Precision
from vitcam.recording.score import Score, find_logits, logits_of

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
