"""Where the command line's text goes: tables to stdout, everything else to stderr.

Names of files, classes, models and runs are other people's: whatever goes through here is printable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from vitcam.printable import printable

PIPED_WIDTH = 120


class PrintableConsole(Console):
    """A console on which no text can act: of control characters it has only rich's own."""

    def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def stdout() -> Console:
    """For results. Piped, it has no width of its own, and rich's 80 columns would cut tables short."""
    console = PrintableConsole(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def stderr() -> Console:
    """For errors and progress."""
    return PrintableConsole(stderr=True, highlight=False, markup=False)


def echo(text: str) -> None:
    """Prints a whole text to stdout as it is, but printable."""
    typer.echo(printable(text), nl=not text.endswith("\n"))


def complain(problem: str, console: Console | None = None) -> None:
    """Prints an error without breaking its lines, so that it can be searched for.

    Further lines are indented: a line feed in a file's name can't begin another error.
    """
    text = Text.assemble(("Error: ", "bold red"), problem.replace("\n", "\n  "))
    (console or stderr()).print(text, soft_wrap=True)


def progress_bar(console: Console, enabled: bool) -> Progress:
    """A bar on stderr that vanishes when all is done; none where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (enabled and console.is_terminal),
    )


def counted(number: int, thing: str, things: str | None = None) -> str:
    """For people.

    Example:
        >>> counted(2, "panel"), counted(2, "class", "classes")
        ('2 panels', '2 classes')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {things or thing + 's'}"
