from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vitcam.errors import ImageError, VitcamError
from vitcam.render import Cell, overlay, panel, thumbnail
from vitcam.types import Box

GENERATOR = np.random.default_rng(0)
PHOTO = Image.fromarray(GENERATOR.integers(0, 256, (60, 90, 3), dtype=np.uint8))
HEAT = GENERATOR.random((4, 6))
GRID = [[Cell(HEAT), Cell(HEAT.T)], [Cell(1 - HEAT), Cell(HEAT**2)]]


def contains(picture: Image.Image, part: Image.Image) -> int:
    """How often the inside of a part occurs in a picture, found by its first inner row."""
    whole, piece = np.asarray(picture), np.asarray(part)[1:-1, 1:-1]
    height, width = piece.shape[:2]
    found = 0
    for y, x in zip(*np.nonzero((whole == piece[0, 0]).all(2)), strict=True):
        found += np.array_equal(whole[y : y + height, x : x + width], piece)
    return found


def test_it_shows_the_photograph_and_every_overlay():
    photo = PHOTO.resize((98, 65))
    picture = panel(photo, GRID, tile=80, row_labels=["cat", "cup"], column_labels=["agcam", "rollout"])
    assert contains(picture, photo) == 2
    for row in GRID:
        for cell in row:
            assert contains(picture, overlay(photo, cell.heat)) == 1


def test_it_stands_on_white_and_is_the_same_every_time():
    picture = panel(PHOTO, GRID, title="two")
    pixels = np.asarray(picture)
    edges = [pixels[:10], pixels[-10:], pixels[:, :10], pixels[:, -10:]]
    assert picture.mode == "RGB"
    assert all((edge == 255).all() for edge in edges)
    assert panel(PHOTO, GRID, title="two").tobytes() == picture.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_the_photograph_is_left_as_it_was(mode: str):
    photo = PHOTO.convert(mode)
    before = photo.tobytes()
    panel(photo, [[Cell(HEAT, "cat", [Box(0, 0, 3, 3)])]])
    assert photo.mode == mode
    assert photo.tobytes() == before


@pytest.mark.parametrize(
    "size", [(32, 32), (1, 1), (3000, 2000), (2000, 20), (20, 2000), (4000, 1), (1, 4000)]
)
def test_the_figure_has_a_sensible_size_whatever_the_photographs(size: tuple[int, int]):
    cells = [[Cell(HEAT, "cat\n26.3 %"), Cell(HEAT, "cup\n20.8 %")]]
    picture = panel(Image.new("RGB", size, "gray"), cells, title="title", footer="model · method")
    assert 350 <= picture.width <= 1600
    assert 90 <= picture.height <= 720


def test_long_names_do_not_widen_it():
    def picture(name: str) -> Image.Image:
        return panel(PHOTO, [[Cell(HEAT, name)]], photo_label=name, title=name, footer=name)

    long = picture("soft-coated wheaten terrier, of a kind with an unusually long name " * 4)
    assert long.width == picture("dog").width
    assert long.height > picture("dog").height


def test_type_and_spacing_grow_with_the_tile():
    small, large = (panel(PHOTO, GRID, title="t", footer="f", tile=tile) for tile in (160, 320))
    assert large.width == pytest.approx(2 * small.width, rel=0.06)
    assert large.height == pytest.approx(2 * small.height, rel=0.06)


def test_each_text_leaves_its_mark():
    plain = panel(PHOTO, GRID)
    texts = [
        {"title": "t"},
        {"footer": "f"},
        {"photo_label": "p"},
        {"row_labels": ["a", "b"]},
        {"column_labels": ["a", "b"]},
    ]
    pictures = [panel(PHOTO, GRID, **text) for text in texts]  # type: ignore[arg-type]  # one keyword each
    assert len({picture.tobytes() for picture in [plain, *pictures]}) == 6


def test_boxes_are_drawn():
    boxed = [[Cell(HEAT, boxes=[Box(1, 1, 4, 3)])]]
    assert panel(PHOTO, boxed).tobytes() != panel(PHOTO, [[Cell(HEAT)]]).tobytes()


def test_rows_may_differ_in_length():
    assert panel(PHOTO, [[Cell(HEAT), Cell(HEAT)], [Cell(HEAT)]]).width == panel(PHOTO, GRID).width


@pytest.mark.parametrize("cells", [[], [[]]])
def test_a_panel_without_cells_is_refused(cells: list[list[Cell]]):
    with pytest.raises(VitcamError, match=r"at least one cell, such as \[\[Cell\(heat\)\]\]"):
        panel(PHOTO, cells)


def test_labels_must_fit_the_cells():
    with pytest.raises(VitcamError, match=r"2 row\(s\) takes 2 row label\(s\) or none; got 1"):
        panel(PHOTO, GRID, row_labels=["cat"])
    with pytest.raises(VitcamError, match=r"2 column\(s\) takes 2 column label\(s\) or none; got 3"):
        panel(PHOTO, GRID, column_labels=["a", "b", "c"])


def test_a_wrong_map_is_refused():
    with pytest.raises(ImageError, match="NaN or infinite"):
        panel(PHOTO, [[Cell(np.array([[np.nan]]))]])


def test_it_needs_neither_torch_nor_pyplot():
    code = (
        "import sys, numpy, PIL.Image; from vitcam.render import Cell, panel; "
        "assert 'matplotlib' not in sys.modules and 'cv2' not in sys.modules; "
        "panel(PIL.Image.new('RGB', (9, 9)), [[Cell(numpy.eye(3), 'cat')]]); "
        "print([name for name in ('torch', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("size", [(1200, 800), (3000, 200), (90, 60), (1, 1), (333, 77)])
def test_thumbnail_stands_for_the_photograph(size):
    photo = PHOTO.resize(size)
    assert panel(thumbnail(photo), GRID).tobytes() == panel(photo, GRID).tobytes()


def test_thumbnail_has_the_area_of_its_tile_and_white_where_the_photograph_is_transparent():
    small = thumbnail(Image.new("RGBA", (600, 150)), tile=80)
    assert small.size == (120, 30)  # no side longer than one and a half of the tile's
    assert thumbnail(Image.new("RGB", (600, 300)), tile=80).size == (113, 57)
    assert small.mode == "RGB"
    assert small.getextrema() == ((255, 255),) * 3


def test_a_photograph_for_each_row():
    photos = [Image.new("RGB", (60, 40), "red"), Image.new("RGB", (40, 60), "blue")]
    picture = panel(photos, GRID, photo_label=["first", "second"])
    colours = {colour for _, colour in picture.getcolors(picture.width * picture.height) or []}
    assert {(255, 0, 0), (0, 0, 255)} <= colours
    assert panel([PHOTO, PHOTO], GRID).tobytes() == panel(PHOTO, GRID).tobytes()
    assert panel(photos, GRID, photo_label=["first", ""]).tobytes() != picture.tobytes()


def test_photographs_and_their_labels_must_fit_the_rows():
    with pytest.raises(VitcamError, match=r"2 row\(s\) takes one photograph, or one per row; got 3"):
        panel([PHOTO] * 3, GRID)
    with pytest.raises(VitcamError, match=r"2 row\(s\) takes one photograph label, or one per row; got 1"):
        panel(PHOTO, GRID, photo_label=["cat"])
