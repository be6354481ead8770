"""What ``vitcam explain`` prints."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from vitcam.cli.explaining.manifest import Explained, PredictedClass, Target
from vitcam.printable import no_formula, one_line, percent

MARK = "●"

BAR = 10
"""How many letters wide a probability of one is."""


def predictions_table(entries: Sequence[Explained]) -> Table:
    """Per photograph the most probable classes, and those explained, which are bold and marked."""
    table = _table("Photograph", "", "Class")
    table.add_column("Probability", no_wrap=True)
    table.caption, table.caption_justify = f"{MARK} explained", "left"
    for entry, name in zip(entries, short_names([entry.file for entry in entries]), strict=True):
        explained = {target.index for target in entry.targets}
        for row, one in enumerate(_classes(entry)):
            marked = one.index in explained
            table.add_row(
                "" if row else Text(one_line(name)),
                MARK if marked else "",
                Text(one_line(one.name), "bold" if marked else ""),
                _probability(one.probability),
            )
        table.add_section()
    return table


def predictions_csv(entries: Sequence[Explained]) -> bytes:
    """A row per photograph and class, most probable first, with the panel that shows those explained."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["photograph", "class", "index", "probability", "explained", "panel"])
    for entry in entries:
        explained = {target.index for target in entry.targets}
        for one in _classes(entry):
            texts = [no_formula(entry.file), no_formula(one.name)]
            marked = one.index in explained
            shown = ["yes", no_formula(entry.panel)] if marked else ["no", ""]
            rows.writerow([*texts, one.index, f"{one.probability:.6f}", *shown])
    return text.getvalue().encode("utf-8", "backslashreplace")


def boxes_table(entries: Sequence[Explained]) -> Table:
    """A row per box, in the photographs' pixels."""
    table = _table("Photograph", "Class", "Method")
    for edge in ("Left", "Top", "Right", "Bottom"):
        table.add_column(edge, justify="right", no_wrap=True)
    for entry, name in zip(entries, short_names([entry.file for entry in entries]), strict=True):
        above: tuple[str, ...] = ("", "", "")
        for target in entry.targets:
            for method, boxes in (target.boxes or {}).items():
                names = (name, target.name, method)
                for found in boxes:
                    new = [
                        Text("" if names[: i + 1] == above[: i + 1] else one_line(names[i])) for i in range(3)
                    ]
                    table.add_row(*new, *map(str, found))
                    above = names
        table.add_section()
    return table


def bands_table(entries: Sequence[Explained]) -> Table:
    """A row per photograph, explained class and method: the share of each band, and the sum of its attributions."""
    table = _table("Photograph", "Class", "Method")
    first = next(
        (found for entry in entries for one in entry.targets for found in (one.bands or {}).values()), ()
    )
    for band in first:
        table.add_column(band.name, justify="right", no_wrap=True)
    for entry, name in zip(entries, short_names([entry.file for entry in entries]), strict=True):
        above: tuple[str, ...] = ("", "", "")
        for target in entry.targets:
            for method, counts in (target.bands or {}).items():
                names = (name, target.name, method)
                new = [Text("" if names[: i + 1] == above[: i + 1] else one_line(names[i])) for i in range(3)]
                table.add_row(*new, *(f"{percent(one.share)} ({one.sum:+.3g})" for one in counts))
                above = names
        table.add_section()
    return table


def tiles_table(entries: Sequence[Explained]) -> Table:
    """A row per photograph and explained class: how many tiles there are, and which of them is most of the class."""
    table = _table("Photograph", "Class")
    for column in ("Tiles", "Mean logit", "Highest", "Left", "Top"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry, name in zip(entries, short_names([entry.file for entry in entries]), strict=True):
        if entry.tiles is None:
            continue
        for row, one in enumerate(entry.tiles.highest):
            left, top, _, _ = entry.tiles.places[one.tile]
            table.add_row(
                "" if row else Text(one_line(name)),
                Text(one_line(one.name)),
                str(len(entry.tiles.places)),
                f"{one.mean:.2f}",
                f"{one.logit:.2f}",
                str(left),
                str(top),
            )
        table.add_section()
    return table


def short_names(files: Sequence[str]) -> list[str]:
    """Paths from the folder that all of them are in.

    Example:
        >>> short_names(["photos/a/cat.jpg", "photos/b/cat.jpg"])
        ['a/cat.jpg', 'b/cat.jpg']
    """
    paths = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100  Path.absolute() leaves ".." in
    if len({path.anchor for path in paths}) > 1:  # several drives of Windows
        return list(files)
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).as_posix() for path in paths]


def _probability(probability: float) -> Text:
    bar = "█" * round(BAR * probability)
    return Text.assemble(f"{percent(probability):>7} ", (bar, "dim"))


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", max_width=48)
    return table


def _classes(entry: Explained) -> list[PredictedClass | Target]:
    """The most probable classes, then those explained that aren't among them."""
    listed = {one.index for one in entry.predicted}
    return [*entry.predicted, *(target for target in entry.targets if target.index not in listed)]
