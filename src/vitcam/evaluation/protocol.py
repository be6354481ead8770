"""The two protocols: the paper's, to the pixel, and vitcam's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from vitcam.models import Preprocessing

Protocol = Literal["paper", "vitcam"]


def protocol_preprocessing(protocol: Protocol, own: Preprocessing) -> Preprocessing:
    """How a protocol prepares photographs for a model.

    ``vitcam`` does what the model's vendor does. ``paper`` (arXiv 2402.04563) resizes to the model's input
    whatever the photograph's shape, bilinearly, with nothing cropped. Size, mean and standard deviation stay
    the model's own: for the paper's model they are 224×224 and 0.5, so that for it this is
    ``Preprocessing.paper()``, and another model isn't shown images unlike those that it was trained on.

    Example:
        >>> protocol_preprocessing("paper", load_model("timm:vit_base_patch16_224").preprocessing)
        Preprocessing(size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), ...)
    """
    if protocol == "vitcam":
        return own
    return replace(own, resize_mode="squash", resize=None, interpolation="bilinear", arithmetic="pil")


def protocol_thresholds(protocol: Protocol, threshold: float) -> tuple[float, ...]:
    """The thresholds at which boxes are compared, ascending, with ``threshold`` itself among them.

    Steps of 0.05 for ``vitcam``, which reports the sweep; of 0.1 for ``paper``.
    """
    steps = {"paper": 10, "vitcam": 20}[protocol]
    return tuple(sorted({step / steps for step in range(steps)} | {threshold}))
