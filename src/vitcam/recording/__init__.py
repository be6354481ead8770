"""Records what happens inside a Vision Transformer; the only room that touches torch's internals.

Other rooms import these names and nothing else of it. They are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names

if TYPE_CHECKING:
    from vitcam.recording.across import Across
    from vitcam.recording.altered import (
        Removable,
        hidden_tokens,
        kept_tokens,
        removable,
        tokens_of,
        without_tokens,
    )
    from vitcam.recording.attention import Attention, AttentionCall, attention_scores, with_head_dimension
    from vitcam.recording.binding import Inputs, arranged, bound
    from vitcam.recording.blocks import block_input, recorded_blocks
    from vitcam.recording.facts import Facts, facts_of
    from vitcam.recording.features import FeatureNeed, Features
    from vitcam.recording.gradients import LayerGradients, refuse_in_place
    from vitcam.recording.head import Head
    from vitcam.recording.interception import Linear, intercept, multi_head_attention
    from vitcam.recording.layout import Between, CallSite, Layout, Overrides, Sequences, cells
    from vitcam.recording.onednn import fast_linear, transposed_linear
    from vitcam.recording.preservation import preserved
    from vitcam.recording.recorder import record
    from vitcam.recording.recording import Need, Recording
    from vitcam.recording.replay import LinearRows, prefix_arguments
    from vitcam.recording.rules import RuledPass, Rules
    from vitcam.recording.running import Precision, autocast, contiguous_gradient
    from vitcam.recording.score import Score, find_logits, logits_of
    from vitcam.recording.steps import Step, each_step
    from vitcam.recording.suffix import Beginning, beginning, resumed_end
    from vitcam.recording.text import Text
    from vitcam.recording.token_gradients import TokenGradients
    from vitcam.recording.values import Leaving, last_tokens, read_by_head

__all__ = [
    "Across",
    "Attention",
    "AttentionCall",
    "Beginning",
    "Between",
    "CallSite",
    "Facts",
    "FeatureNeed",
    "Features",
    "Head",
    "Inputs",
    "LayerGradients",
    "Layout",
    "Leaving",
    "Linear",
    "LinearRows",
    "Need",
    "Overrides",
    "Precision",
    "Recording",
    "Removable",
    "RuledPass",
    "Rules",
    "Score",
    "Sequences",
    "Step",
    "Text",
    "TokenGradients",
    "arranged",
    "attention_scores",
    "autocast",
    "beginning",
    "block_input",
    "bound",
    "cells",
    "contiguous_gradient",
    "each_step",
    "facts_of",
    "fast_linear",
    "find_logits",
    "hidden_tokens",
    "intercept",
    "kept_tokens",
    "last_tokens",
    "logits_of",
    "multi_head_attention",
    "prefix_arguments",
    "preserved",
    "read_by_head",
    "record",
    "recorded_blocks",
    "refuse_in_place",
    "removable",
    "resumed_end",
    "tokens_of",
    "transposed_linear",
    "with_head_dimension",
    "without_tokens",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Across": "vitcam.recording.across",
        "Attention": "vitcam.recording.attention",
        "AttentionCall": "vitcam.recording.attention",
        "Beginning": "vitcam.recording.suffix",
        "Between": "vitcam.recording.layout",
        "CallSite": "vitcam.recording.layout",
        "Facts": "vitcam.recording.facts",
        "FeatureNeed": "vitcam.recording.features",
        "Features": "vitcam.recording.features",
        "Head": "vitcam.recording.head",
        "Inputs": "vitcam.recording.binding",
        "LayerGradients": "vitcam.recording.gradients",
        "Layout": "vitcam.recording.layout",
        "Leaving": "vitcam.recording.values",
        "Linear": "vitcam.recording.interception",
        "LinearRows": "vitcam.recording.replay",
        "Need": "vitcam.recording.recording",
        "Overrides": "vitcam.recording.layout",
        "Precision": "vitcam.recording.running",
        "Recording": "vitcam.recording.recording",
        "Removable": "vitcam.recording.altered",
        "RuledPass": "vitcam.recording.rules",
        "Rules": "vitcam.recording.rules",
        "Score": "vitcam.recording.score",
        "Sequences": "vitcam.recording.layout",
        "Step": "vitcam.recording.steps",
        "Text": "vitcam.recording.text",
        "TokenGradients": "vitcam.recording.token_gradients",
        "arranged": "vitcam.recording.binding",
        "attention_scores": "vitcam.recording.attention",
        "autocast": "vitcam.recording.running",
        "beginning": "vitcam.recording.suffix",
        "bound": "vitcam.recording.binding",
        "block_input": "vitcam.recording.blocks",
        "cells": "vitcam.recording.layout",
        "contiguous_gradient": "vitcam.recording.running",
        "each_step": "vitcam.recording.steps",
        "facts_of": "vitcam.recording.facts",
        "fast_linear": "vitcam.recording.onednn",
        "find_logits": "vitcam.recording.score",
        "hidden_tokens": "vitcam.recording.altered",
        "intercept": "vitcam.recording.interception",
        "kept_tokens": "vitcam.recording.altered",
        "last_tokens": "vitcam.recording.values",
        "logits_of": "vitcam.recording.score",
        "multi_head_attention": "vitcam.recording.interception",
        "prefix_arguments": "vitcam.recording.replay",
        "preserved": "vitcam.recording.preservation",
        "read_by_head": "vitcam.recording.values",
        "record": "vitcam.recording.recorder",
        "recorded_blocks": "vitcam.recording.blocks",
        "refuse_in_place": "vitcam.recording.gradients",
        "removable": "vitcam.recording.altered",
        "resumed_end": "vitcam.recording.suffix",
        "tokens_of": "vitcam.recording.altered",
        "transposed_linear": "vitcam.recording.onednn",
        "with_head_dimension": "vitcam.recording.attention",
        "without_tokens": "vitcam.recording.altered",
    },
)
