"""Which of a run's methods are controls: they say what a number is worth, and aren't rivals of the others."""

from __future__ import annotations

from vitcam.evaluation.measure import CONTROLS


def is_control(method: str) -> bool:
    """Whether a method, whatever its options, is a control.

    Example:
        >>> is_control("random(seed=1)"), is_control("agcam")
        (True, False)
    """
    return method.split("(")[0] in CONTROLS
