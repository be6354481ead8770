"""Several pictures in one call, for models that take them side by side: each has its own map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vitcam.errors import ImageError
from vitcam.explaining.arguments import OneOfSeveral
from vitcam.explaining.batches import AnyModel
from vitcam.explaining.explain import explain
from vitcam.explaining.explanation import Explanation
from vitcam.explaining.inputs import Images, count
from vitcam.explaining.targets import Targets
from vitcam.models.loaded import LoadedModel


def explain_each(
    model: AnyModel,
    pictures: Mapping[str, Images],
    method: str = "agcam",
    targets: Targets = None,
    **options: Any,
) -> dict[str, Explanation]:
    """Where a model that takes several pictures side by side looks in each of them, for one and the same score.

    Two photographs of one person, a scene before and after, a picture and its depth: ``forward(first, second)``. Each
    picture's map says what in it makes the score larger, the others being as they are. For the similarity of pictures
    that a model embeds one by one, see :func:`vitcam.similar_to`.

    Args:
        model: as for :func:`vitcam.explain`.
        pictures: by the names of forward's arguments, as many of each as of the others.
        method, targets: as for :func:`vitcam.explain`; a score is of all pictures together.
        **options: of :func:`vitcam.explain`. Further ``inputs`` may come along.

    Returns:
        An explanation for each of them, by the names.

    Raises:
        ImageError: there is only one, or there are more of one than of another.
        ModelError: forward has no argument of such a name; else as for :func:`vitcam.explain`.

    Example:
        >>> class Difference(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2)
        ...
        ...     def forward(self, before, after):
        ...         return self.backbone(after) - self.backbone(before)
        >>> pair = {"before": images[:2], "after": images[2:4]}
        >>> both = vitcam.explain_each(Difference(), pair, targets=vitcam.value(3))
        >>> {name: e.heatmaps.shape for name, e in both.items()}
        {'before': torch.Size([2, 1, 14, 14]), 'after': torch.Size([2, 1, 14, 14])}
    """
    counts = {name: count(images) for name, images in pictures.items()}
    if len(counts) < 2 or len(set(counts.values())) > 1:
        listed = ", ".join(f"{many} of {name!r}" for name, many in counts.items()) or "none"
        raise ImageError(
            f"explain_each takes two pictures or more side by side, as many of each, and got {listed}"
        )
    given = {name: _as_tensor(model, images) for name, images in pictures.items()}
    return {name: explain(model, OneOfSeveral(given, name), method, targets, **options) for name in pictures}


def _as_tensor(model: AnyModel, images: Images) -> Images:
    """Tensors, where it is known how they are made: a model is given the others as such."""
    if isinstance(images, Tensor) or not isinstance(model, LoadedModel):
        return images
    return model.preprocess(images)  # type: ignore[arg-type]  # no mapping, and no tensor
