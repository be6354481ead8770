"""The option ``rules`` of gradient methods: by which rules gradients come back to what they look at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import Method
from vitcam.methods.options import one_of
from vitcam.methods.relevance.libra import CP_LRP, LIBRA, PLAIN
from vitcam.methods.relevance.precise import at_least
from vitcam.methods.relevance.propagation import Propagation
from vitcam.methods.relevance.rules import RuleSet
from vitcam.recording import FeatureNeed, Need, Recording, RuledPass, Rules

RULES = {"plain": PLAIN, "libra": LIBRA, "cp-lrp": CP_LRP}
"""By the names that the option takes."""

Chosen = tuple[Method, Mapping[str, Any]]


def needs_without_rules(methods: Sequence[Chosen]) -> Need:
    """What methods need of the recording whose gradients are the ordinary ones."""
    return _union(method.needs(options) for method, options in methods if not _rules_of(method, options))


def features_without_rules(methods: Sequence[Chosen]) -> list[FeatureNeed]:
    """The feature maps that they need of it."""
    return _features([(method, options) for method, options in methods if not _rules_of(method, options)])


def recordings(methods: Sequence[Chosen], recording: Recording) -> Iterator[Recording]:
    """For each method the recording by its rules, of which methods with the same rules share one.

    Args:
        methods: methods and their options.
        recording: with what they need without rules.

    Raises:
        MethodError: the precision asked for isn't "fp32", or the model uses a function for which there is no rule.
        ModelError: the rules don't fit the model.
    """
    made = {"": recording}
    for method, options in methods:
        name = _rules_of(method, options)
        if name not in made:
            made[name] = _by_rules(name, recording, [each for each in methods if _rules_of(*each) == name])
        yield made[name]


def own_precision(method: Method, options: Mapping[str, Any]) -> str:
    """The precision that a method computes in whatever is asked for; "" if it follows that.

    Example:
        >>> from vitcam.methods import find_method
        >>> own_precision(*find_method("gae(rules='libra')")), own_precision(*find_method("gae"))
        ('float32', '')
    """
    return method.computes_in or ("float32" if _rules_of(method, options) else "")


def check_rules(method: str, rules: str, recording: Recording) -> None:
    """Makes sure that gradients were recorded by the rules that a method was asked for.

    Raises:
        MethodError: there are no such rules, or the recording is by others.
    """
    one_of(method, "rules", rules, RULES)
    if recording.rules != rules:
        raise MethodError(
            f"{method} with rules={rules!r} was given a recording by the rules {recording.rules!r}; "
            "vitcam.explain makes the one that it needs"
        )


def _by_rules(name: str, recording: Recording, methods: Sequence[Chosen]) -> Recording:
    if recording.precision != "fp32":
        raise MethodError(
            f"{methods[0][0].name} with rules={name!r} computes in float32, also on a model in bf16 or fp16; leave "
            f"out precision={recording.precision!r}, or rules"
        )
    needs = _union(method.needs(options) for method, options in methods)
    rules = RULES[name]
    return recording.once_more(
        needs, _features(methods), Rules(name, rules.complete, partial(_applied, rules))
    )


def _rules_of(method: Method, options: Mapping[str, Any]) -> str:
    """The rules that a method's gradients come back by; "" for the ordinary gradient without its biases."""
    if not method.by_rules:
        return ""
    one_of(method.name, "rules", options["rules"], RULES)
    rules: str = options["rules"]
    return "" if rules == "plain" and Need.BIASES not in method.needs(options) else rules


def _features(methods: Sequence[Chosen]) -> list[FeatureNeed]:
    return [method.features(options) for method, options in methods if method.features is not None]


def _union(needs: Iterator[Need]) -> Need:
    total = Need.NOTHING
    for need in needs:
        total |= need
    return total


@contextlib.contextmanager
def _applied(rules: RuleSet, images: int) -> Iterator[RuledPass]:
    """A rule set as the recording takes it."""
    propagation = Propagation(rules, images, None)

    @contextlib.contextmanager
    def biases() -> Iterator[list[Tensor]]:
        propagation.carrier.biases = shares = list[Tensor]()
        try:
            yield shares
        finally:
            propagation.carrier.biases = None

    with at_least(torch.float32), propagation:
        yield RuledPass(propagation.refuse_unseen, biases)
