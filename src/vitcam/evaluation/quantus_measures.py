"""The measures ``quantus:NAME``: any metric of the library Quantus (optional) that needs no more than heatmaps."""

from __future__ import annotations

import difflib
from functools import partial
from typing import TYPE_CHECKING, Any

from vitcam.errors import RunError
from vitcam.evaluation.measure import Curve, Measure, Number, Numbers
from vitcam.registry import split_options

if TYPE_CHECKING:
    from vitcam.evaluation.cases import PerturbationCase

FAMILY = "quantus"

# What these say of a heatmap hangs on the other images of its batch; of one alone they give 0.
_OF_SEVERAL = frozenset({"BatchSufficiency", "Consistency", "SensitivityN", "Sufficiency"})


def quantus_measure(called: str) -> Measure:
    """A measure that asks a metric of Quantus.

    Args:
        called: the metric's class, with options in brackets if any: ``"PixelFlipping(features_in_step=1000)"``.

    Raises:
        RunError: Quantus isn't installed or has no such metric, or that has no such option or no number of one image.

    Example:
        >>> measure = quantus_measure("Sparseness")
        >>> measure.name, measure.task, measure.numbers[0].better
        ('quantus:Sparseness', 'perturbation', None)
    """
    name = f"{FAMILY}:{called}"
    make_metric(name)
    number = Number(
        name, name, "As Quantus computes it; the mean of its points, if it is a curve.", better=None, unit=""
    )
    return Measure(
        name,
        "perturbation",
        partial(_computed, name),
        (number,),
        (Curve(f"{name} curve"),),
        absent="Quantus gives no finite number for any of these explanations",
    )


def make_metric(name: str) -> Any:
    """The metric of Quantus that ``quantus:NAME(options)`` names, a new one each time: it remembers what it scored.

    Raises:
        RunError: as from ``quantus_measure``.
    """
    problem = RunError(
        f"can't read the measure {name!r}; write its options as in 'quantus:PixelFlipping(features_in_step=1000)', "
        "each with a plain value"
    )
    bare, options = split_options(name, problem)
    metric_name = bare.removeprefix(f"{FAMILY}:")
    try:
        import quantus
    except ImportError as error:
        raise RunError(
            f"the measure {name} needs the library Quantus, which isn't installed: pip install quantus"
        ) from error
    metrics = {
        key: value
        for key, value in vars(quantus).items()
        if isinstance(value, type) and callable_metric(value)
    }
    if metric_name not in metrics:
        near = difflib.get_close_matches(metric_name, metrics, n=1)
        hint = f" Did you mean '{FAMILY}:{near[0]}'?" if near else ""
        raise RunError(f"Quantus has no metric {metric_name!r}.{hint} It has {', '.join(sorted(metrics))}")
    if metric_name in _OF_SEVERAL:
        raise RunError(
            f"{metric_name} compares images with each other, so that there is no number of one explanation: ask "
            "Quantus itself for it"
        )
    quiet = {"disable_warnings": True, "display_progressbar": False}
    try:
        return metrics[metric_name](**{**quiet, **options})
    except (TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"
        raise RunError(f"Quantus makes no {metric_name} with {given}: {error}") from error


def callable_metric(kind: type) -> bool:
    """Whether a class of Quantus' is a metric: its instances are called with heatmaps."""
    evaluates = getattr(kind, "evaluate_batch", None)
    return evaluates is not None and not getattr(evaluates, "__isabstractmethod__", False)


def _computed(name: str, case: PerturbationCase) -> Numbers:
    from vitcam.evaluation.metrics.quantus_scores import quantus_scores

    return quantus_scores(name, case)
