"""Relevance propagation: rule sets, and the context in which a model's backward pass follows one."""

from __future__ import annotations

from vitcam.methods.relevance.attention import AttentionLayer
from vitcam.methods.relevance.attnlrp import attnlrp_rules
from vitcam.methods.relevance.call import Call
from vitcam.methods.relevance.chefer import CHEFER
from vitcam.methods.relevance.rules import Rule, RuleSet
from vitcam.methods.relevance.tracing import Trace, trace

__all__ = [
    "CHEFER",
    "AttentionLayer",
    "Call",
    "Rule",
    "RuleSet",
    "Trace",
    "attnlrp_rules",
    "trace",
]
