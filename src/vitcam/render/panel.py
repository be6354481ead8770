"""A figure of one photograph: its heatmaps by class and method, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from vitcam.errors import VitcamError
from vitcam.render.bars import Bar, bars
from vitcam.render.colors import DEFAULT_COLORMAP
from vitcam.render.overlay import DEFAULT_OPACITY, on_white, overlay
from vitcam.render.scale_bar import scale_bar
from vitcam.render.stack import above, beside, blank, framed
from vitcam.render.text import INK, PALE_INK, drawable, font, label, set_lines, wrap
from vitcam.render.words import Word, words
from vitcam.types import Box

HAIRLINE = (190, 190, 196)

TILE = 320

CLOSE = 0.01
"""A photograph that is nearly of its tile's size, such as one that was made it before, stays as it is."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One overlay of a panel.

    Attributes:
        heat: one map (height, width) with values in 0..1, of any size.
        label: what stands above it: the first line in bold, further ones in grey, as in ``"cat\\n25.1 %"``.
        boxes: rectangles to outline, in pixels of ``heat``.
        places: likewise, in another colour: where what is explained is.
        bars: names and shares, 0 to 1, that stand as bars beside the overlay.
        words: tokens of a text and their weights, which stand shaded below the overlay.

    Example:
        >>> Cell(np.eye(14), "cat\\n25.1 %").label
        'cat\\n25.1 %'
    """

    heat: ArrayLike
    label: str = ""
    boxes: Sequence[Box] = ()
    places: Sequence[Box] = ()
    bars: Sequence[Bar] = ()
    words: Sequence[Word] = ()


def thumbnail(photo: Image.Image, tile: int = TILE) -> Image.Image:
    """The photograph as a panel shows it, in RGB: of a panel it is as good as the photograph itself, and small.

    Args:
        photo: any 8-bit mode, any size and shape, upright; left as it is.
        tile: the side in pixels if it is square; other shapes get about the same area, but no side longer than
            one and a half of it.

    Example:
        >>> thumbnail(Image.new("RGB", (6000, 4000))).size
        (392, 261)
    """
    scale = min(tile / math.sqrt(photo.width * photo.height), 1.5 * tile / max(photo.size))
    if abs(scale - 1) < CLOSE:
        return on_white(photo)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return on_white(photo).resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def panel(
    photo: Image.Image | Sequence[Image.Image],
    cells: Sequence[Sequence[Cell]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    photo_label: str | Sequence[str] = "photograph",
    title: str = "",
    footer: str = "",
    tile: int = TILE,
    opacity: float = DEFAULT_OPACITY,
    colormap: str = DEFAULT_COLORMAP,
) -> Image.Image:
    """Draw a photograph, or several, and the overlays as one labelled figure.

    Each row begins with its photograph. For one method, give one row with a cell per class, the class as the
    cell's label; for several, a row per class and a column per method, with row and column labels. All labels
    have their first line in bold; what doesn't fit ends with an ellipsis. Below stands the scale that all
    overlays share.

    Args:
        photo: any 8-bit mode, any size and shape, upright; left as it is. Of several, one per row.
        cells: rows of cells; they may differ in length.
        row_labels: one per row, at its left.
        column_labels: one per column of cells, at the top.
        photo_label: the label of the photograph; one per row, where each is to have its own.
        title: at the top left.
        footer: at the bottom left, such as the model and the method.
        tile: the side in pixels of a square photograph's tile; other shapes get about the same area. Type and
            spacing grow with it.
        opacity, colormap: as for :func:`overlay`.

    Returns:
        An RGB picture on white.

    Raises:
        ImageError: a map isn't one finite map in 0..1.
        VitcamError: there are no cells, or the numbers of photographs or labels don't fit.

    Example:
        >>> e = vitcam.explain(photo_model, photo, targets=["cat", "cup"])
        >>> row = [Cell(e.upsampled()[0, t], e.label(t=t)) for t in range(2)]
        >>> panel(e.photographs[0], [row], title=photo.name, footer=e.method).save("panel.png")
    """
    photos = [photo] * len(cells) if isinstance(photo, Image.Image) else photo
    labelled = [] if isinstance(photo_label, str) else list(photo_label)
    _check(cells, row_labels, column_labels, photos, labelled)
    em = max(9, round(tile / 20))
    gap = em
    made = {id(each): thumbnail(each, tile) for each in {id(each): each for each in photos}.values()}
    smalls = [made[id(each)] for each in photos]
    side = max(7 * em, *(small.width for small in smalls))

    beside_it = 11 * em + em // 2
    with_bars = {column for row in cells for column, cell in enumerate(row, start=1) if cell.bars}
    widths = [side + (beside_it if column in with_bars else 0) for column in range(1 + max(map(len, cells)))]

    def tiled(
        picture: Image.Image, text: str, width: int, shares: Sequence[Bar], below: Image.Image
    ) -> Image.Image:
        edged = _edged(picture)
        if shares:
            edged = beside([edged, bars(shares, 11 * em, picture.height, round(0.8 * em))], gap=em // 2)
        return above([label(text, em, width), edged, below, blank(width, 0)], gap=em // 3)

    above_all = photo_label if isinstance(photo_label, str) else ""
    heads = (
        [
            label(text, em, width)
            for text, width in zip(_level([above_all, *column_labels]), widths, strict=True)
        ]
        if column_labels
        else []
    )
    rows = []
    for number, (small, row) in enumerate(zip(smalls, cells, strict=True)):
        of_photo = labelled[number] if labelled else "" if heads or number else above_all
        texts = _level([of_photo, *(cell.label for cell in row)])
        overlays = [
            overlay(
                small, cell.heat, opacity=opacity, colormap=colormap, boxes=cell.boxes, places=cell.places
            )
            for cell in row
        ]
        shares = [(), *(cell.bars for cell in row)]
        said = [words(cell.words, side, round(0.8 * em)) for cell in row]
        tallest = blank(side, max(each.height for each in said))
        parts = zip(
            [small, *overlays],
            texts,
            widths,
            shares,
            [tallest, *_as_tall(said, tallest.height)],
            strict=False,
        )
        rows.append([tiled(*part) for part in parts])
    if row_labels:
        margin = min(max(_longest_line(text, em) for text in row_labels), 10 * em)
        heads = heads and [blank(margin, 0), *heads]
        rows = [
            [label(text, em, margin, height=small.height), *row]
            for text, small, row in zip(row_labels, smalls, rows, strict=True)
        ]
    grid = above([beside(row, gap) for row in rows], gap)
    if heads:
        grid = above([beside(heads, gap), grid], gap=em // 3)

    bar = scale_bar(em, opacity, colormap)
    width = max(grid.width, bar.width)
    body = above([_title(title, em, width), grid, _foot(footer, bar, em, width)], gap=round(0.8 * em))
    return framed(body, margin=round(1.5 * em))


def _check(
    cells: Sequence[Sequence[Cell]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    photos: Sequence[Image.Image],
    photo_labels: Sequence[str],
) -> None:
    columns = max((len(row) for row in cells), default=0)
    if not columns:
        raise VitcamError("A panel needs at least one cell, such as [[Cell(heat)]]; it got none.")
    if len(photos) != len(cells):
        raise VitcamError(
            f"A panel with {len(cells)} row(s) takes one photograph, or one per row; got {len(photos)}."
        )
    if photo_labels and len(photo_labels) != len(cells):
        raise VitcamError(
            f"A panel with {len(cells)} row(s) takes one photograph label, or one per row; got {len(photo_labels)}."
        )
    for name, labels, number in (("row", row_labels, len(cells)), ("column", column_labels, columns)):
        if labels and len(labels) != number:
            raise VitcamError(
                f"A panel with {number} {name}(s) takes {number} {name} label(s) or none; got {len(labels)}."
            )


def _level(labels: Sequence[str]) -> list[str]:
    """The labels with equally many lines, so that their first lines stand level."""
    lines = max(text.count("\n") for text in labels)
    return [text + "\n" * (lines - text.count("\n")) if any(labels) else "" for text in labels]


def _edged(picture: Image.Image) -> Image.Image:
    """With a thin line around it, so that a white photograph doesn't run into the paper."""
    edged = picture.copy()
    ImageDraw.Draw(edged).rectangle((0, 0, edged.width - 1, edged.height - 1), outline=HAIRLINE)
    return edged


def _as_tall(pictures: Sequence[Image.Image], height: int) -> list[Image.Image]:
    """With paper below, so that what stands above them is level."""
    return [above([each, blank(each.width, height - each.height)], gap=0) for each in pictures]


def _longest_line(text: str, em: int) -> int:
    return math.ceil(max(font(em, bold=True).getlength(line) for line in drawable(text).split("\n")))


def _title(title: str, em: int, width: int) -> Image.Image:
    face = font(round(1.25 * em), bold=True)
    return set_lines([(line, face, INK) for line in wrap(title, face, width)], width)


def _foot(footer: str, bar: Image.Image, em: int, width: int) -> Image.Image:
    room = width - bar.width - 2 * em
    narrow = room < 16 * em
    if narrow:
        room = width
    face = font(em)
    text = set_lines([(line, face, PALE_INK) for line in wrap(footer, face, room)], room)
    return above([bar, text], gap=0) if narrow else beside([text, bar], gap=2 * em)
