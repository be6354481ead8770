"""What a report shows of an input, and of a map on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitcam import heatmap
from vitcam.inputs import PICTURE, arranged_as_picture, arranged_shape
from vitcam.models import Preprocessing
from vitcam.models.adopted import Adopted

Colours = tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]


def colours_of(preprocessing: Any) -> Colours | None:
    """The mean and the deviation that a photograph's colours were normalised by; None of what is no photograph.

    Example:
        >>> mean, std = colours_of(vitcam.Preprocessing.paper())
        >>> mean.flatten()
        tensor([0.5000, 0.5000, 0.5000])
    """
    if not isinstance(preprocessing, Preprocessing):
        return None
    return torch.tensor(preprocessing.mean)[:, None, None], torch.tensor(preprocessing.std)[:, None, None]


def seen(pixels: Float[Tensor, ...], preprocessing: Adopted) -> Image.Image:
    """What a model sees, as a picture: a photograph in its own colours, others as their kind is drawn.

    Args:
        pixels: the model's input for one of them.
        preprocessing: that made it.
    """
    colours = colours_of(preprocessing)
    if colours is None:
        values = arranged_as_picture(pixels[None], preprocessing.order)[0]
        return preprocessing.kind.picture(values.numpy(), getattr(preprocessing, "shown", None))
    mean, std = colours
    bytes_ = ((pixels * std + mean) * 255).round().clamp(0, 255).byte()
    return Image.fromarray(bytes_.permute(1, 2, 0).contiguous().numpy())


def laid(
    maps: Float[np.ndarray, ...], preprocessing: Adopted, side: int
) -> Float[np.ndarray, "rows columns"]:
    """A map as it lies over the picture: of a picture as it is, of others over what ``seen`` draws of them.

    Args:
        maps: one map, on the patch grid.
        preprocessing: of the model.
        side: of what is drawn, in pixels at most; a map of a picture is as fine as its patches.
    """
    kind = preprocessing.kind
    if kind is PICTURE:
        return maps
    size = arranged_shape(preprocessing.shape, preprocessing.order)[1:]
    pixels = heatmap.upsample(torch.from_numpy(maps)[None, None].float(), size)
    over: NDArray[Any] = kind.laid(heatmap.normalize(pixels, len(size))[0, 0].numpy())
    picture = Image.fromarray(np.ascontiguousarray(over, dtype=np.float32))
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture)
