from __future__ import annotations

import pytest
from PIL import Image

from vitcam.errors import ImageError
from vitcam.photos import PHOTOS, photo_path


@pytest.mark.parametrize("name", PHOTOS)
def test_each_photograph_is_a_small_jpeg_and_credited(name: str):
    path = photo_path(name)
    assert path.stat().st_size <= 150_000
    with Image.open(path) as photo:
        photo.load()
        assert photo.format == "JPEG"
        assert photo.mode == "RGB"
        assert 200 <= max(photo.size) <= 640
    assert f"`{path.name}`" in (path.parent / "CREDITS.md").read_text(encoding="utf-8")


def test_there_is_no_file_without_a_name():
    assert {path.stem for path in photo_path("cat").parent.glob("*.jpg")} == set(PHOTOS)


def test_an_unknown_photograph_is_refused_with_those_there_are():
    with pytest.raises(ImageError, match=r"no photograph 'dog' in vitcam\. There are: cat, cup"):
        photo_path("dog")
