"""Where the command line's text goes: tables to stdout, everything else to stderr."""

from __future__ import annotations

import os

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

PIPED_WIDTH = 120


def stdout() -> Console:
    """For results. Piped, it has no width of its own, and rich's 80 columns would cut tables short."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def stderr() -> Console:
    """For errors and progress."""
    return Console(stderr=True, highlight=False, markup=False)


def complain(problem: str, console: Console | None = None) -> None:
    """Prints an error without breaking its lines, so that it can be searched for."""
    text = Text.assemble(("Error: ", "bold red"), problem)
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


def percent(probability: float) -> str:
    """For people.

    Example:
        >>> percent(0.4567)
        '45.7 %'
    """
    return f"{100 * probability:.1f} %"


def counted(number: int, thing: str) -> str:
    """For people.

    Example:
        >>> counted(2, "panel")
        '2 panels'
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
