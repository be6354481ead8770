"""The command line: one file per command. Nothing here imports torch before a command runs that needs it."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def main() -> None:
    """Runs the command line; the entry point of ``vitcam`` and of ``python -m vitcam``."""
    from vitcam.cli.program import program

    for stream in (sys.stdout, sys.stderr):
        # a file name may hold bytes, and a class name letters, that the terminal's encoding lacks
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    program(prog_name="vitcam")
