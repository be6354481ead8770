"""What mkdocs calls while it builds the site."""

from __future__ import annotations

from typing import Any

COMMANDS = "<!-- the commands stand here -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the help of every command where a page asks for it."""
    return markdown.replace(COMMANDS, _commands()) if COMMANDS in markdown else markdown


def _commands() -> str:
    import typer
    from typer.cli import get_docs_for_click

    from vitcam.cli.program import program

    command = typer.main.get_command(program)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="vitcam"), name="vitcam")
    return text[text.index("\n## ") :]  # what stands before is a shortened list of what follows
