"""Shell blocks: the shell itself takes them apart; stubs in the place of programs note what is called."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import typer
from doc_pages import REPOSITORY

from vitcam.cli.program import program

_STUB = """#!/bin/sh
printf '%s\\0' "$#" "${0##*/}" "$@" >> "$CALLS"
"""
_STUBS = ("vitcam", "pip", "python", "python3", "make", "git", "ray", "npm", "gradio")


def calls_of(script: str, folder: Path, scratch: Path) -> list[list[str]]:
    """The programs that a script calls, with their arguments; none of them is run."""
    stubs, record = scratch / "stubs", scratch / "calls"
    stubs.mkdir(exist_ok=True)
    for name in _STUBS:
        (stubs / name).write_text(_STUB)
        (stubs / name).chmod(0o755)
    record.unlink(missing_ok=True)
    environment = {"PATH": str(stubs), "CALLS": str(record), "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        ["/bin/bash", "-eu", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"the shell can't read this:\n{script}\n{done.stderr}"
    words = record.read_text().split("\0")[:-1] if record.exists() else []
    calls = []
    while words:
        count = int(words[0])
        calls.append(words[1 : count + 2])
        words = words[count + 2 :]
    return calls


def check_call(call: list[str]) -> None:
    """Whether a program takes these arguments; nothing is run."""
    match call:
        case ["vitcam", *arguments]:
            check_vitcam(arguments)
        case ["pip", *arguments]:
            known = (REPOSITORY / "pyproject.toml").read_text()
            for extra in re.findall(r"[\w-]+", "".join(word.partition("[")[2] for word in arguments)):
                assert re.search(rf"^{extra} = \[", known, re.MULTILINE), f"vitcam has no extra {extra!r}"
        case ["make", *targets]:
            makefile = (REPOSITORY / "Makefile").read_text()
            for target in targets:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no `make {target}`"
        case ["python" | "python3", file, *_] if file.endswith(".py"):
            assert (REPOSITORY / file).is_file(), f"there is no {file}"


def check_vitcam(arguments: list[str]) -> None:
    """Whether the command line takes these arguments: the command exists, and so do its options."""
    group = typer.main.get_command(program)
    context = group.make_context("vitcam", list(arguments))
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)
