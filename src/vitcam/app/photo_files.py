"""A visitor's photograph."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import ClassVar

from PIL import Image, UnidentifiedImageError

from vitcam.app.policy import Policy
from vitcam.app.prepared import Prepared, prepared
from vitcam.app.tabs import PHOTOGRAPHS, Tab, check_tab
from vitcam.errors import ImageError
from vitcam.images import FORMATS, known_formats, open_image
from vitcam.models import LoadedModel
from vitcam.photos import PHOTOS, photo_path

LONGEST_NAME = 120

SIDE = 1024
"""Pixels of the longer side of what is kept of a photograph to draw on."""


@dataclass(frozen=True)
class PhotoFile:
    """A photograph's file.

    Attributes:
        path: where it lies on the server.
        shipped: its name among the photographs that come with vitcam; None if it is the visitor's own.
        given: what the file is called on the visitor's machine; on the server it may have lost characters.
    """

    path: Path
    shipped: str | None = None
    given: str = ""

    tab: ClassVar[Tab] = PHOTOGRAPHS

    @property
    def name(self) -> str:
        """What the visitor knows it by."""
        return self.given or self.path.name

    def prepared(self, loaded: LoadedModel, policy: Policy) -> Prepared:
        """What a model gets of it.

        Raises:
            ModelError: the model takes another kind of input.
            ImageError: as ``opened``.
        """
        check_tab(loaded, self.tab)
        whole = prepared(loaded, self.opened(policy.max_megapixels))
        return replace(whole, picture=reduced(whole.picture))

    def opened(self, max_megapixels: float) -> Image.Image:
        """The photograph, upright RGB.

        Raises:
            ImageError: it can't be read, has too many pixels, or is gone. The message has its name and not its
                place on the server.
        """
        if not self.path.is_file():
            raise gone(self.name)
        self._check_format()
        try:
            return open_image(self.path, max_pixels=int(max_megapixels * 1e6))
        except ImageError as error:
            text = str(error).replace(str(self.path), self.name)
            text = text.partition(" Make it smaller")[0] + (
                " Make it smaller, or start the app with a larger --max-megapixels."
                if "Make it smaller" in text
                else ""
            )
            raise ImageError(text) from error

    def _check_format(self) -> None:
        """So that no stranger's file reaches Pillow's rarer readers, one of which runs other programs (EPS)."""
        try:
            Image.open(self.path, formats=known_formats()).close()
        except UnidentifiedImageError as error:
            if self.path.stat().st_size:
                raise ImageError(
                    f"{self.name} is not an image that the app reads. Expected one of {', '.join(FORMATS)}."
                ) from error
        except Exception:  # whatever else is wrong with it is said where it is read
            return


Upload = tuple[str, str]
"""What the browser sends of a file: the path on the server, and the name on the visitor's machine."""


def photo_file(upload: Upload | None) -> PhotoFile:
    """The photograph that the browser sent.

    Raises:
        ImageError: there is none, or it isn't kept any more.
    """
    if not upload:
        raise ImageError("There is no photograph yet. Drop or paste one, or choose one of vitcam's own.")
    file, given = kept(upload)
    same = (name for name in PHOTOS if filecmp.cmp(file, photo_path(name), shallow=False))
    return PhotoFile(file, next(same, None), given)


def kept(upload: Upload) -> tuple[Path, str]:
    """Where a file that the browser sent lies, and what it is called on the visitor's machine.

    Raises:
        ImageError: it isn't kept any more.
    """
    file, given = Path(upload[0]), PurePath(upload[1].replace("\\", "/")).name[-LONGEST_NAME:]
    if not file.is_file():
        raise gone(given or file.name)
    return file, given


def gone(name: str) -> ImageError:
    """What is said of an upload that was deleted."""
    return ImageError(f"{name} isn't kept any more. Drop it again.")


def reduced(picture: Image.Image, side: int = SIDE) -> Image.Image:
    """The picture with no side longer than ``side`` pixels, by default what is enough to draw on."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
