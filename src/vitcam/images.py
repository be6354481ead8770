"""Photographs as upright RGB, whatever file, PIL image or array they come from; and finding them on disk."""

from __future__ import annotations

import glob
import io
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vitcam.errors import ImageError
from vitcam.open_files import OpenFile, content_of, is_open_file, name_of
from vitcam.walking import kind_of_no_file, matches, walk

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""What is in such files, by Pillow's names. One of its rarer readers runs other programs (EPS)."""

# Pillow's own default. Ours is a parameter because Pillow's is a global that any library may have changed.
MAX_PIXELS = 89_478_485

MAX_ASPECT = 1000
"""How many times longer than wide an image may be. No photograph is; resizing one takes memory by its length."""


ImageSource = str | Path | Image.Image | NDArray[Any] | bytes | bytearray | OpenFile
"""Whatever a photograph can come from."""


def open_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Opens a photograph as an upright 8-bit RGB image.

    Grey, palette, CMYK and 16-bit images are converted (16 bits are scaled, not clipped), transparent ones
    are laid on white, EXIF rotation is applied, and of an animation the first frame is taken. What was
    passed in is left as it was.

    Args:
        source: a file's path, a PIL image, the bytes of a file, a file open for reading bytes (read from its
            beginning, and left where it was, if it can be), or an array (height, width), (height, width, 1),
            (…, 3) or (…, 4): ``uint8``, or floating point from 0 to 1.
        max_pixels: images with more pixels are refused before they are decoded.

    Raises:
        ImageError: the file is missing, a folder, a pipe or device, an address, empty, not an image, truncated, too
            large or too elongated; the array has another shape or type, NaN, or values out of range.

    Example:
        >>> open_image(np.zeros((4, 6), dtype=np.uint8)).size
        (6, 4)
    """
    if isinstance(source, (str, Path)):
        check_path(str(source))
        return _open_file(Path(source), max_pixels)
    if isinstance(source, Image.Image):
        name = f"the PIL image {getattr(source, 'filename', '') or source.mode}"
        return _open_pil(source, name, max_pixels)
    if isinstance(source, np.ndarray):
        return _open_array(source, max_pixels)
    if is_open_file(source):
        return _open_bytes(content_of(source), name_of(source), max_pixels)
    if isinstance(source, bytes | bytearray):
        return _open_bytes(bytes(source), f"the image of {len(source):,} bytes", max_pixels)
    raise ImageError(
        f"Expected an image's path, its bytes or an open file, a PIL image or a numpy array, got "
        f"{type(source).__name__}. Normalised tensors are stacked into one by torch.stack."
    )


def known_formats(formats: Sequence[str] = FORMATS) -> list[str]:
    """Those that this Pillow reads, which takes no names of others.

    Example:
        >>> known_formats(("JPEG", "AVIF", "no such format"))[0]
        'JPEG'
    """
    Image.init()
    return [name for name in formats if name in Image.OPEN]


class Pictures(Sequence[Image.Image]):
    """Pictures that are made, each time, when asked for: a thousand photographs need no memory.

    Args:
        makers: a function per picture.

    Example:
        >>> pictures = Pictures([lambda: open_image("photo.jpg")] * 1000)
        >>> len(pictures[10:])  # no file is opened
        990
    """

    def __init__(self, makers: Sequence[Callable[[], Image.Image]]) -> None:
        self._makers = makers

    def __len__(self) -> int:
        return len(self._makers)

    def __getitem__(self, index: Any) -> Any:
        made = self._makers[index]
        return Pictures(made) if isinstance(made, Sequence) else made()

    @classmethod
    def chained(cls, several: Sequence[Sequence[Image.Image]]) -> Pictures:
        """The pictures of several sequences, one after the other. None is made."""
        return cls([partial(each.__getitem__, i) for each in several for i in range(len(each))])


def find_images(paths: Sequence[str], suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Lists the image files that files, folders and glob patterns name, each once, by whatever links.

    What has an image's name and can't be read, such as a pipe, a link to nowhere or a folder that can't be
    listed, is among them: ``open_image`` says what is wrong with it, and it isn't left out unnoticed.

    Args:
        paths: a file is taken whatever its suffix; a folder means every image in it and in its
            sub-folders, each of which is gone through once; a pattern (``photos/*.jpg``, ``**/cat*``) means
            the images among its matches. The order of ``paths`` is kept, and what each of them finds is sorted.
        suffixes: what the names of files in folders end with.

    Raises:
        ImageError: one of the paths exists nowhere, or finds no image.

    Example:
        >>> [path.as_posix() for path in find_images(["things/cat", "things/cup/0.jpg"])]
        ['things/cat/0.jpg', 'things/cat/1.jpg', 'things/cat/2.jpg', 'things/cat/3.jpg', 'things/cup/0.jpg']
    """
    found: dict[str, Path] = {}
    for path in paths:
        for file in _find(path, suffixes):
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def check_path(path: str) -> None:
    """Refuses what can't be a path of this machine.

    Raises:
        ImageError: it is empty, an address, or can't be looked up.

    Example:
        >>> check_path("https://example.org/cat.jpg")
        Traceback (most recent call last):
        vitcam.errors.ImageError: https://example.org/cat.jpg is an address; ...
    """
    if not path.strip():
        raise ImageError("An image's path is empty.")
    if "://" in path or path.startswith("data:"):
        raise ImageError(
            f"{path:.100} is an address; nothing is downloaded. Save the image and give its path."
        )
    try:
        Path(path).exists()
    except OSError as error:  # too long a name, or no right to look
        raise ImageError(f"{path:.100} can't be looked up: {error.strerror}.") from error


def _find(pattern: str, suffixes: Collection[str]) -> list[Path]:
    check_path(pattern)
    path = Path(pattern)
    unlisted: list[Path] = []

    def refused(error: OSError) -> None:
        unlisted.append(Path(error.filename))

    if path.is_dir():
        files = [folder / name for folder, names in walk(path, refused) for name in names]
    elif os.path.lexists(path):
        return [path]
    elif glob.has_magic(pattern):
        files = [file for file in matches(pattern, refused) if not file.is_dir()]
    else:
        raise ImageError(f"{pattern}: there is no such file or folder.")
    found = [file for file in files if _is_visible(file, suffixes)] + unlisted
    if not found:
        what = "image" if suffixes == IMAGE_SUFFIXES else "such file"
        raise ImageError(
            f"{pattern}: there is no {what} here (looked for files ending in {', '.join(sorted(suffixes))})."
        )
    return sorted(found)


def _is_visible(file: Path, suffixes: Collection[str]) -> bool:
    return not file.name.startswith(".") and file.name.lower().endswith(tuple(suffixes))


def _open_file(path: Path, max_pixels: int) -> Image.Image:
    check_file(path)
    return _opened(path, str(path), max_pixels)


def _open_bytes(content: bytes, name: str, max_pixels: int) -> Image.Image:
    if not content:
        raise ImageError(f"{name} is empty (0 bytes); expected an image file.")
    return _opened(io.BytesIO(content), name, max_pixels)


def _opened(file: Path | io.BytesIO, name: str, max_pixels: int) -> Image.Image:
    """By Pillow, whose errors are put into words."""
    try:
        with _pillows_limit(max_pixels), Image.open(file) as image:
            return _open_pil(image, name, max_pixels)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that Pillow can read.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to be opened: {error}") from error
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name}: there isn't enough memory to open it.") from error
    except Exception as error:  # on a broken file, Pillow's decoders raise nearly anything
        if isinstance(error, OSError) and error.errno:  # the system's, not Pillow's
            raise ImageError(f"{name} can't be read: {error.strerror}.") from error
        raise ImageError(
            f"{name} can't be read as an image ({error}): it is truncated or damaged."
        ) from error


@contextmanager
def _pillows_limit(max_pixels: int) -> Iterator[None]:
    """Where more than usual is allowed, Pillow needn't warn of it; above twice its own limit it still refuses."""
    with warnings.catch_warnings() if max_pixels > MAX_PIXELS else nullcontext():
        if max_pixels > MAX_PIXELS:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def check_file(path: Path, expected: str = "an image file") -> None:
    """Refuses what is no file with something in it.

    Raises:
        ImageError: there is no such file, it can't be looked at, is a folder, pipe or device, or is empty.

    Example:
        >>> check_file(Path("things/cat/0.jpg"))
        >>> check_file(Path("things"), "a video")
        Traceback (most recent call last):
        vitcam.errors.ImageError: things is a folder; expected a video.
    """
    try:
        kind, size = kind_of_no_file(path), path.stat().st_size
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
    ) as error:  # ValueError: a zero byte in the name
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            raise ImageError(f"{path} is a link to a file that isn't there.") from error
        raise ImageError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise ImageError(f"{path} can't be read: {error.strerror}.") from error
    if kind is not None:
        raise ImageError(f"{path} is a {kind}; expected {expected}.")
    if size == 0:
        raise ImageError(f"{path} is empty (0 bytes); expected {expected}.")


def _open_pil(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    _check_size(image.width, image.height, name, max_pixels)
    try:
        image.load()
        # always a copy, also of an upright image
        return _to_rgb(ImageOps.exif_transpose(image))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there isn't enough memory to decode it.") from error
    except Exception as error:  # on a broken file, Pillow's decoders raise nearly anything
        raise ImageError(
            f"{name} can't be decoded ({error}): it is truncated or damaged, or of a kind that Pillow can't "
            f"convert to RGB."
        ) from error


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height == 0:
        raise ImageError(f"{name} has no pixels: it is {width}×{height}.")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is {width}×{height}: more than {max_pixels:,} pixels. Make it smaller, or, if you "
            f"trust it, pass a larger max_pixels."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{name} is {width}×{height}: its sides differ by more than {MAX_ASPECT:,} times. Cut it into pieces."
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scales 16-bit integers (0..65535) or floating point (0..1) to 0..255."""
    low, high = (0, 1) if values.dtype.kind == "f" else (0, 65535)
    if not np.isfinite(values).all():
        raise ImageError("it has NaN or infinite values.")
    # 1e-6: float32 arithmetic (a resize, a colour conversion) overshoots by as much
    if values.min() < low - 1e-6 or values.max() > high + 1e-6:
        raise ImageError(
            f"its values go from {values.min():g} to {values.max():g}; expected {low} to {high}."
        )
    return np.clip(np.rint(values * (255 / high)), 0, 255).astype(np.uint8)


def _open_array(array: NDArray[Any], max_pixels: int) -> Image.Image:
    name = f"the {array.dtype} array of shape {array.shape}"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " The colour channels come last: try array.transpose(1, 2, 0)."
        if array.ndim == 4:
            hint = " Pass a batch as a list of images."
        raise ImageError(
            f"Expected an image array (height, width) or (height, width, 1, 3 or 4), got {name}.{hint}"
        )
    _check_size(array.shape[1], array.shape[0], name, max_pixels)
    if array.dtype.kind == "f":
        try:
            array = _to_8_bits(array)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
    elif array.dtype != np.uint8:
        raise ImageError(f"Expected an image array of uint8 or of floating point from 0 to 1, got {name}.")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))
