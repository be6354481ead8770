"""Pictures of any number of bands."""

from __future__ import annotations

import lzma
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitcam.errors import ImageError
from vitcam.images import IMAGE_SUFFIXES, MAX_PIXELS, known_formats
from vitcam.inputs.files import Files, check_values, checked_path, in_words, reader
from vitcam.inputs.read_volume import ARRAYS, Scan

TIFFS = frozenset({".tif", ".tiff"})
"""What tifffile reads."""

RASTERS = ARRAYS | IMAGE_SUFFIXES

_UNPACKERS: dict[int, Any] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    50013: zlib.decompressobj,
    34925: lzma.LZMADecompressor,
}
"""By a TIFF's number of its compression: those that pack nearly nothing into very little."""

_LEAST = 2**24
"""Values of a tile that are allowed in any case: small pictures may lie in larger tiles."""

FILES = Files("pictures", RASTERS)


def read_bands(source: Any, channels: int, max_pixels: int = MAX_PIXELS) -> Scan:
    """A picture's values as they are in the file, band by band: of a TIFF, a .npy array, or what Pillow reads.

    Args:
        source: the file's path.
        channels: how many bands it must have, in the first axis of an array or its last.
        max_pixels: larger pictures are refused before they are decoded.

    Raises:
        ImageError: there is no such file, it is no picture, truncated, too large, empty, of another number of bands
            or other numbers than real ones, has values that aren't finite, or tifffile isn't installed.

    Example:
        >>> np.save("bands.npy", np.random.default_rng(0).random((13, 6, 8)))
        >>> read_bands("bands.npy", channels=13).values.shape
        (13, 6, 8)
    """
    path = checked_path(source, f"pictures of {channels} band{'s' * (channels != 1)}", RASTERS)
    suffix = path.suffix.lower()
    with in_words(path, "a picture"):
        if suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            values = _in_front(array, _axis_of_bands(path, array.shape, channels, max_pixels))
        elif suffix in TIFFS:
            values = _of_tiff(path, channels, max_pixels)
        else:
            with Image.open(path, formats=known_formats()) as picture:
                shape = (len(picture.getbands()), picture.height, picture.width)
                _axis_of_bands(path, shape, channels, max_pixels)
                values = np.asarray(picture).reshape(picture.height, picture.width, -1)
                values = np.moveaxis(values, -1, 0)
        _check_type(path, values.dtype)
        found = np.array(values, dtype=np.float32)
    check_values(found, path, "values")
    return Scan(found, path)


def _of_tiff(path: Path, channels: int, max_pixels: int) -> NDArray[Any]:
    tifffile = reader("tifffile", "bands", "TIFF files of several bands")
    # of several files: else it would open whatever others one names, and take those that aren't there for zeros
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        if not tiff.series:
            raise ImageError(f"{path} holds no picture")
        first = tiff.series[0]
        axis = _axis_of_bands(path, tuple(first.shape), channels, max_pixels)
        _check_type(path, first.dtype)
        _check_parts(path, tiff, first, channels * max_pixels)
        return _in_front(first.asarray(), axis)


def _check_parts(path: Path, tiff: Any, series: Any, most: int) -> None:
    """Refuses tiles and strips that hold more than they should: tifffile unpacks them whole, however much that is."""
    like = series.keyframe
    values = math.prod(like.chunks)
    if values > max(most, _LEAST):
        raise ImageError(f"{path} is damaged: each of its tiles is said to hold {values:,} values")
    unpacker = _UNPACKERS.get(int(like.compression))
    if unpacker is None:
        return
    for page in filter(None, series.pages):
        for packed, _ in tiff.filehandle.read_segments(page.dataoffsets, page.databytecounts):
            size = values * like.dtype.itemsize
            if packed and len(unpacker().decompress(packed, size + 1)) > size:
                raise ImageError(f"{path} is damaged: one of its tiles or strips holds more than it should")


def _check_type(path: Path, dtype: Any) -> None:
    if np.dtype(dtype).kind not in "buif":
        raise ImageError(f"{path} holds values of the type {dtype}; expected real numbers")


def _in_front(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    return array[None] if axis is None else np.moveaxis(array, axis, 0)


def _axis_of_bands(path: Path, shape: tuple[int, ...], channels: int, max_pixels: int) -> int | None:
    """Which axis the bands lie along, the first or the last; None if it isn't there, of a single band."""
    axis = next((n for n in (0, 2) if len(shape) == 3 and shape[n] == channels), None)
    sides = shape if axis is None else (*shape[:axis], *shape[axis + 1 :])
    if axis is None and (len(shape), channels) != (2, 1):
        raise ImageError(
            f"{path} has the shape {shape}; expected {channels} band{'s' * (channels != 1)}, which is what the model "
            f"takes: ({channels}, height, width) or (height, width, {channels})"
        )
    if math.prod(sides) == 0:
        raise ImageError(f"{path} has no pixels: it is {'×'.join(map(str, sides))}")
    if math.prod(sides) > max_pixels:
        raise ImageError(f"{path} is {sides[1]}×{sides[0]}: more than {max_pixels:,} pixels. Make it smaller")
    return axis
