"""What a kind of input is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitcam.types import Box

Array = NDArray[np.floating[Any]]
Bands = Sequence[int] | None


@dataclass(frozen=True)
class InputKind:
    """A kind of input.

    Inside vitcam every input is (batch, channels, *axes), and every map (batch, targets, *axes of patches); what
    stands here is all that is known of the difference between a photograph and a scan.

    Attributes:
        name: what it is called.
        tab: what the app calls its files.
        axes: the names of its axes besides batch and channels, in the order of its maps.
        shape: how a model takes it, in words.
        orders: how models may lay out the axes (batch, channels, *axes), the usual way first; an axis that a model
            doesn't take is left out. () for as they are.
        picture: from (channels, *axes), and the bands that are shown as red, green and blue (None: chosen), to a
            picture.
        laid: from maps (…, *axes) to maps (…, rows, columns) that lie over that picture.
        suffixes: what the names of its files end with, in small letters.
        also: likewise, of files that are taken for another kind where no model says which is meant.
        size: how much larger than a photograph its picture has to be in a figure, to be seen as well.
        moments: of a kind that changes in time, from the lengths of the axes to where each moment that is drawn is
            in the picture.
    """

    name: str
    tab: str
    axes: tuple[str, ...]
    shape: str
    orders: tuple[tuple[int, ...], ...]
    picture: Callable[[Array, Bands], Image.Image]
    laid: Callable[[Array], Array]
    suffixes: frozenset[str]
    also: frozenset[str] = frozenset()
    size: float = 1
    moments: Callable[[Sequence[int]], list[Box]] | None = None

    @property
    def endings(self) -> list[str]:
        """All that the names of its files may end with.

        Example:
            >>> vitcam.inputs.VOLUME.endings
            ['.nii', '.nii.gz', '.npy']
        """
        return sorted(self.suffixes | self.also)
