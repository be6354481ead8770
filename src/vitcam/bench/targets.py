"""What vitcam must reach: as ratios of two times in the same run, for ViT-B/16 at 224×224 with 2 threads."""

from __future__ import annotations

from vitcam.bench.limits import Limit

COSTS = {"rollout": 1.2, "gae": 2.6, "gradcam": 2.6, "legrad": 2.6, "lrp": 6.0}
"""From a method to how many times the forward pass's time it may take."""

COMPARED = ("agcam", "rollout", "gae", "gradsam", "gradcam")
SHARED = 0.6
"""The share of the time of the five methods one by one that comparing them may take."""


def agcam_limits(batch: int, pixels: int) -> tuple[Limit, ...]:
    """Of AGCAM in the forward pass's own precision.

    Args:
        batch: images at a time.
        pixels: of an image.
    """
    time = Limit("time", 1.1, goal=1.03) if batch >= 8 else Limit("time", 1.2)
    return time, Limit("memory", 15 * pixels / 224**2)


def top5_limits(batch: int) -> tuple[Limit, ...]:
    """Of AGCAM for five classes per image."""
    return (Limit("time", 1.2),) if batch >= 8 else ()


def bf16_limits(bf16: bool) -> tuple[Limit, ...]:
    """Of AGCAM in bfloat16 against AGCAM in fp32.

    Args:
        bf16: whether the CPU multiplies bfloat16 matrices.
    """
    alike = Limit("rank correlation", 0.99, at_least=True)
    return (Limit("speed", 2.5, at_least=True, of=("agcam",)), alike) if bf16 else (alike,)


def method_limits(method: str) -> tuple[Limit, ...]:
    """Of any other method."""
    return (Limit("time", COSTS[method]),) if method in COSTS else ()
