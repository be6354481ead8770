"""What mkdocs calls while it builds the site."""

from __future__ import annotations

from typing import Any

COMMANDS = "<!-- the commands stand here -->"
MEASURES = "<!-- the measures stand here -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the help of every command, and the declarations of all measures, where a page asks for them."""
    for mark, text in ((COMMANDS, _commands), (MEASURES, _measures)):
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown


def _commands() -> str:
    import typer
    from typer.cli import get_docs_for_click

    from vitcam.cli.program import program

    command = typer.main.get_command(program)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="vitcam"), name="vitcam")
    return text[text.index("\n## ") :]  # what stands before is a shortened list of what follows


def _measures() -> str:
    from vitcam.evaluation.measures import MEASURES

    lines = ["| `--test` | number | title | better | range | what it is |", "|---|---|---|---|---|---|"]
    for measure in MEASURES.values():
        for number in measure.numbers:
            meaning = number.meaning.replace("|", "\\|")
            cells = (
                f"`{measure.name}`",
                f"`{number.key}`",
                number.title,
                number.better,
                number.unit,
                meaning,
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
