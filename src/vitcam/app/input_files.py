"""A visitor's file of another kind than photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from vitcam.app.photo_files import PhotoFile, Upload, gone, kept, photo_file, reduced
from vitcam.app.policy import Policy
from vitcam.app.prepared import Prepared, prepared
from vitcam.app.tabs import PHOTOGRAPHS, Tab, check_tab
from vitcam.errors import ImageError
from vitcam.models import LoadedModel


@dataclass(frozen=True)
class InputFile:
    """A file that is read as the model's preprocessing says.

    Attributes:
        path: where it lies on the server.
        given: what it is called on the visitor's machine; on the server it may have lost characters.
        tab: where it was given.
    """

    path: Path
    given: str
    tab: Tab

    shipped: ClassVar[None] = None

    @property
    def name(self) -> str:
        """What the visitor knows it by."""
        return self.given or self.path.name

    def prepared(self, loaded: LoadedModel, policy: Policy) -> Prepared:
        """What a model gets of it.

        Raises:
            ModelError: the model takes another kind of input.
            ImageError: it can't be read, holds too much, or is gone. The message has its name and not its place on
                the server.
        """
        check_tab(loaded, self.tab)
        if not self.path.is_file():
            raise gone(self.name)
        try:
            found = prepared(loaded, loaded.preprocessing.read(self.path, policy.limits))
        except ImageError as error:
            raise ImageError(self._said(str(error))) from error
        # what moves is cut out of the picture again, to the pixel
        picture = found.picture if found.kind.moments else reduced(found.picture)
        return replace(found, picture=picture, heard=tuple(map(self._said, found.heard)))

    def _said(self, text: str) -> str:
        """What is said about the file, to those who may not know where it lies but can ask for more."""
        larger = "Make it smaller, start the app with a larger --max-megapixels"
        return text.replace(str(self.path), self.name).replace("Make it smaller", larger)


def given_file(upload: Upload | None, tab: Tab) -> PhotoFile | InputFile:
    """The file that the browser sent in a tab.

    Raises:
        ImageError: there is none, or it isn't kept any more.
    """
    if tab is PHOTOGRAPHS:
        return photo_file(upload)
    if not upload:
        raise ImageError(f"There is no {tab.noun} yet. Drop or choose a file.")
    return InputFile(*kept(upload), tab)
