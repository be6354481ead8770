"""What the miniature datasets are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitcam.errors import DatasetError

Object = tuple[str, int, int, int, int]  # name, xmin, ymin, xmax, ymax


@pytest.fixture
def write() -> Callable[[Path, str], None]:
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return write


@pytest.fixture
def photograph() -> Callable[..., None]:
    def photograph(
        path: Path, width: int = 8, height: int = 6, colour: tuple[int, int, int] = (9, 99, 199)
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), colour).save(path)

    return photograph


@pytest.fixture
def palette_mask() -> Callable[[Path, np.ndarray], None]:
    def palette_mask(path: Path, indices: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(indices.astype(np.uint8), mode="P")
        image.putpalette(list(range(256)) * 3)
        image.save(path)

    return palette_mask


@pytest.fixture
def annotation(write: Callable[[Path, str], None]) -> Callable[..., None]:
    def annotation(path: Path, objects: Sequence[Object], width: int = 8, height: int = 6) -> None:
        items = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for name, left, top, right, bottom in objects
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        write(
            path,
            f"<annotation><filename>{path.stem}</filename>{size}<segmented>0</segmented>{items}</annotation>",
        )

    return annotation


@pytest.fixture
def complains() -> Callable[..., AbstractContextManager[None]]:
    """A block that must raise a DatasetError with all of these texts in it."""

    @contextmanager
    def complains(*texts: object):
        with pytest.raises(DatasetError) as caught:
            yield
        missing = [str(text) for text in texts if str(text) not in str(caught.value)]
        assert not missing, f"{missing} not in: {caught.value}"

    return complains
