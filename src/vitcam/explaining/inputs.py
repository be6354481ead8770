"""From whatever a user calls images to batches of tensors."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitcam.errors import ImageError
from vitcam.explaining.tiles import TiledPicture
from vitcam.images import ImageSource, Pictures, find_images
from vitcam.inputs import PICTURE, InputKind, arranged_as_picture
from vitcam.inputs.bands import chosen_bands
from vitcam.inputs.kind import Bands
from vitcam.models.adopted import Adopted
from vitcam.models.loaded import LoadedModel
from vitcam.open_files import content_of, is_open_file
from vitcam.threads import map_ahead

Images = Tensor | ImageSource | Sequence[ImageSource] | Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """Some of the images: the tensor for the model, and pictures of what it sees.

    Attributes:
        start: the place of the first of them among all images.
        tensor: normalised.
        photographs: at the photographs' own resolution, cut to what the model sees; made when asked for.
        names: the paths of their files; "" of what is from none; () of tensors.
        kind: of input.
    """

    start: int
    tensor: Float[Tensor, "batch channels *space"]
    photographs: Sequence[Image.Image]
    names: tuple[str, ...] = ()
    kind: InputKind = PICTURE


def listed(images: Any, kind: InputKind = PICTURE) -> Tensor | list[Any]:
    """A tensor as it is; of all else a list, with the images of folders and patterns in the place of these.

    Args:
        images: see :func:`vitcam.explain`.
        kind: of input, whose files are looked for.

    Raises:
        ImageError: there are none, or a tensor has the wrong shape or type.

    Example:
        >>> [path.name for path in listed(["things/cat", "things/cup/1.jpg"])]
        ['0.jpg', '1.jpg', '2.jpg', '3.jpg', '1.jpg']
    """
    if isinstance(images, Tensor):
        _check_tensor(images, len(kind.axes))
        return images
    return [each for source in _as_list(images) for each in _found(source, kind)]


def _found(source: Any, kind: InputKind) -> list[Any]:
    if not isinstance(source, str | Path):
        return [source]
    text = str(source)
    if os.path.lexists(text) and not Path(text).is_dir():
        return [Path(text)]
    if glob.has_magic(text) or Path(text).is_dir():
        return list(find_images([text], kind.suffixes))
    return [source]  # whoever opens it says that it isn't there, or no path


def count(images: Images) -> int:
    """How many images there are; one that isn't in a list counts as one.

    Raises:
        ImageError: none, or a tensor of the wrong shape or type.
    """
    return len(listed(images))


def batches(
    images: Images | TiledPicture,
    loaded: LoadedModel | None,
    batch_size: int | None,
    kind: InputKind = PICTURE,
    bands: Bands = None,
) -> Generator[Batch, None, None]:
    """The images in batches; files are read a batch ahead.

    Args:
        images: see :func:`vitcam.explain`.
        loaded: preprocesses images that aren't tensors.
        batch_size: None: all of a tensor, 8 of other images.
        kind: of input; a tensor of it is (batch, channels, …).
        bands: which channels of a tensor are shown as red, green and blue.

    Raises:
        ImageError: an image can't be read, or isn't a tensor and there is nothing to preprocess it with.
    """
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ImageError(f"batch_size must be a whole number of 1 or more, not {batch_size!r}")
    if isinstance(images, TiledPicture):
        step = batch_size or len(images)
        for start in range(0, len(images), step):
            yield Batch(start, images[start : start + step], Pictures([]))
        return
    if isinstance(images, Tensor):
        images = images.as_subclass(
            Tensor
        )  # what a library adds to its tensors, such as MONAI's, is of no use here
        _check_tensor(images, len(kind.axes))
        if bands is not None:
            chosen_bands(images.shape[1], bands)
        step = batch_size or len(images)
        for start in range(0, len(images), step):
            part = images[start : start + step]
            yield Batch(
                start, part, Pictures([partial(drawn, kind, image, bands) for image in part]), kind=kind
            )
        return
    if loaded is None:
        raise ImageError(
            "a bare nn.Module takes a normalised float tensor (batch, 3, height, width): only a loaded model "
            "knows how to preprocess photographs. Use vitcam.load_model, or wrap yours: "
            "vitcam.wrap(model, vitcam.Preprocessing(...))"
        )
    if bands is not None:
        raise ImageError(
            "bands= says how a tensor is shown; how files are, says their preprocessing: "
            "vitcam.BandPreprocessing(…, shown=…)"
        )
    sources, preprocessing = listed(images, kind), loaded.preprocessing
    step = batch_size or 8
    files = map(partial(_for_a_thread, preprocessing), sources)
    with closing(map_ahead(partial(_prepared, preprocessing), files, ahead=step)) as prepared:
        for start in range(0, len(sources), step):
            pixels, makers = zip(*islice(prepared, step), strict=True)
            names = tuple(str(s) if isinstance(s, str | Path) else "" for s in sources[start : start + step])
            tensor = arranged_as_picture(torch.stack(pixels), preprocessing.order)
            yield Batch(start, tensor, Pictures(makers), names, kind)


def _for_a_thread(preprocessing: Adopted, source: Any) -> Any:
    """What another thread may open: two of them must not load the same PIL image, nor read the same open file."""
    if is_open_file(source):
        return content_of(source)
    if isinstance(source, bytearray):
        return bytes(source)
    return source if isinstance(source, str | Path | bytes) else preprocessing.read(source)


def _prepared(
    preprocessing: Adopted, source: Any
) -> tuple[Float[Tensor, "*given"], Callable[[], Image.Image]]:
    """A model's input, and what makes its picture: a file, or its bytes, is read again then, to spare memory."""
    if not isinstance(source, str | Path | bytes):  # read already
        return preprocessing(source), partial(Image.Image.copy, preprocessing.seen(source))
    return preprocessing(preprocessing.read(source)), partial(_seen_in_file, preprocessing, source)


def _seen_in_file(preprocessing: Adopted, file: str | Path | bytes) -> Image.Image:
    return preprocessing.seen(preprocessing.read(file))


def drawn(kind: InputKind, tensor: Float[Tensor, channels * space], bands: Bands) -> Image.Image:
    """A picture of a normalised tensor."""
    return kind.picture(tensor.detach().float().cpu().numpy(), bands)


def _as_list(images: Any) -> list[Any]:
    if isinstance(images, str | Path | Image.Image | np.ndarray | bytes | bytearray) or is_open_file(images):
        return [images]
    if not isinstance(images, Sequence):
        raise ImageError(
            "images must be a tensor, or a path (of a file or folder), an open file or its bytes, a PIL image or "
            f"array, or a list of these; got {images!r:.100}"
        )
    listed = list(images)
    if not listed:
        raise ImageError("there are no images: the list is empty")
    return listed


def _check_tensor(images: Tensor, axes: int = 2) -> None:
    shape = tuple(images.shape)
    if axes == 2 and images.dim() == 3:
        raise ImageError(f"images must be (batch, 3, height, width); got {shape}. Add a batch: images[None]")
    if axes > 2 and (images.dim() != axes + 2 or 0 in shape):
        raise ImageError(
            f"an input of this kind must be a tensor of {axes + 2} axes that isn't empty; got {shape}"
        )
    if axes == 2 and (images.dim() != 4 or 0 in shape):
        raise ImageError(f"images must be a non-empty tensor (batch, 3, height, width); got {shape}")
    if axes == 2 and shape[-1] == 3 and shape[1] != 3:
        raise ImageError(
            f"images must be (batch, 3, height, width); got {shape}, with the channels last. "
            "Use images.permute(0, 3, 1, 2)"
        )
    if not images.is_floating_point():
        raise ImageError(
            f"images must be a normalised float tensor; got {images.dtype}. Divide by 255 and normalise, or give "
            "paths or PIL images to a loaded model"
        )
    if images.is_meta:
        raise ImageError("images are on the meta device, where tensors hold no values")
    if not torch.isfinite(images).all():
        bad = (~images.isfinite()).flatten(1).any(dim=1).nonzero()[0].item()
        raise ImageError(f"image {bad} of the batch holds NaN or infinite values")
