"""Numbers as people read them."""

from __future__ import annotations

from vitcam.evaluation.measure import Number
from vitcam.report.tables import Estimate

MINUS = "\N{MINUS SIGN}"
ARROWS = {"higher": "↑", "lower": "↓", None: ""}


def plain(value: float) -> str:
    """Three decimals.

    Example:
        >>> plain(-0.12345)
        '−0.123'
    """
    text = f"{value:.3f}".replace("-", MINUS)
    return text.removeprefix(MINUS) if text == f"{MINUS}0.000" else text


def hundredths(value: float) -> str:
    """Two decimals, as correlations are read; no zero before the point.

    Example:
        >>> hundredths(-0.857), hundredths(1.0)
        ('−.86', '1')
    """
    text = f"{abs(value):.2f}"
    text = {"1.00": "1", "0.00": "0"}.get(text, text.removeprefix("0"))
    return f"{MINUS}{text}" if value < 0 and text != "0" else text


def signed(value: float) -> str:
    """Three decimals, with a sign unless it is 0.

    Example:
        >>> signed(0.02)
        '+0.020'
    """
    text = plain(value)
    return text if text.startswith(MINUS) or text == "0.000" else f"+{text}"


def interval(estimate: Estimate) -> str:
    return f"{plain(estimate.low)} – {plain(estimate.high)}"


def signed_interval(estimate: Estimate) -> str:
    return f"{signed(estimate.low)} to {signed(estimate.high)}"


def p_value(p: float) -> str:
    """
    Example:
        >>> p_value(0.0005), p_value(0.04321)
        ('< 0.001', '0.043')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def titled(measure: Number) -> str:
    """A measure's title with an arrow to where better is."""
    return f"{measure.title}\N{NO-BREAK SPACE}{ARROWS[measure.better]}".rstrip()
