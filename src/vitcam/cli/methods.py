"""``vitcam methods``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from vitcam.cli.terminal import echo, stdout

if TYPE_CHECKING:
    from vitcam.methods import Method


def methods(
    as_object: Annotated[
        bool, typer.Option("--json", metavar="", help="A list of JSON objects, in place of the table.")
    ] = False,
) -> None:
    """List the explanation methods by kind: what they show, their options, the models they work on."""
    from vitcam.methods import METHODS
    from vitcam.methods.method import KINDS

    if as_object:
        echo(json.dumps([_described(method) for method in METHODS.values()], indent=1, ensure_ascii=False))
        return
    console = stdout()
    for kind, title in KINDS.items():
        of_kind = [method for method in METHODS.values() if method.kind == kind]
        if of_kind:
            console.print(_table(title, of_kind))
    console.print("Options are given in brackets: vitcam explain cat.jpg --method 'attention(layer=5)'")


def _table(title: str, methods: Sequence[Method]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Method and options", no_wrap=True, min_width=28)
    table.add_column("What it shows", ratio=3)
    table.add_column("Passes", ratio=2)
    table.add_column("Class-specific", width=14)
    table.add_column("Models", width=10)
    table.expand = True
    for method in methods:
        table.add_row(
            _name(method),
            _summary(method),
            method.passes,
            "yes" if method.class_specific else "no",
            "plain ViTs" if method.plain_vit_only else "any",
        )
    return table


def _described(method: Method) -> dict[str, Any]:
    """A method as an object of JSON; what JSON has no form for is written as Python writes it."""
    described = {
        name: getattr(method, name)
        for name in (
            "name",
            "kind",
            "summary",
            "paper",
            "passes",
            "class_specific",
            "plain_vit_only",
            "options",
        )
    }
    return json.loads(json.dumps(described, default=repr))  # type: ignore[no-any-return]  # what went in


def _name(method: Method) -> Text:
    options = [f"\n  {option}={default!r}" for option, default in method.options.items()]
    return Text.assemble((method.name, "bold"), ("".join(options), "dim"))


def _summary(method: Method) -> Text:
    return Text.assemble(method.summary, (f"\n{method.paper}" if method.paper else "", "dim"))
