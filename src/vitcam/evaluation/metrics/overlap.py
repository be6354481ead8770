"""How well a region agrees with the true one: five numbers from three counts of pixels."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

EPSILON = 1e-5
OVERLAP_SCORES = ("pixel_accuracy", "iou", "dice", "precision", "recall")


def overlap_scores(
    hits: Int[Tensor, "*batch"],
    predicted: Int[Tensor, "*batch"],
    truth: Int[Tensor, "*#batch"],
    pixels: Int[Tensor, "*#batch"],
) -> dict[str, Tensor]:
    """Pixel accuracy, IoU, Dice, precision and recall, each a fraction 0..1 in float64.

    With P the predicted and T the true region, N the number of pixels and ε = 1e-5 added above and below:
    accuracy = (N − |P∖T| − |T∖P|)/N, IoU = |P∩T|/|P∪T|, Dice = 2|P∩T|/(|P| + |T|), precision = |P∩T|/|P|,
    recall = |P∩T|/|T|. Because of ε, two empty regions agree perfectly, and an empty prediction has precision
    1.

    Source: the localization protocol of AGCAM (arXiv 2402.04563).

    Args:
        hits: |P∩T|.
        predicted: |P|.
        truth: |T|.
        pixels: N.

    Example:
        >>> counts = (torch.tensor(count) for count in (2, 4, 2, 100))
        >>> round(overlap_scores(*counts)["iou"].item(), 4)
        0.5
    """
    wrong = (predicted - hits) + (truth - hits)
    return {
        "pixel_accuracy": _ratio(pixels - wrong, pixels),
        "iou": _ratio(hits, predicted + truth - hits),
        "dice": _ratio(2 * hits, predicted + truth),
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, truth),
    }


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return (part.double() + EPSILON) / (whole.double() + EPSILON)
