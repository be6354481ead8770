"""``vitcam models``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from vitcam.cli.terminal import echo, stdout


def models(
    spec: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="A model to look into.", show_default=False)
    ] = None,
    inspect: Annotated[
        bool,
        typer.Option(
            "--inspect", help="Load it and show its structure: tokens, layers, head, methods that work."
        ),
    ] = False,
) -> None:
    """List the kinds of models that --model takes, and whether what they need is installed; or look into one.

    Example: `vitcam models timm:vit_base_patch16_224 --inspect`
    """
    if inspect != (spec is not None):
        problem = (
            "give --inspect to look into a model"
            if spec
            else "say which model, as in: embedded:photo --inspect"
        )
        raise typer.BadParameter(problem, param_hint="SPEC")
    if spec is None:
        _list()
    else:
        _look_into(spec)


def _look_into(spec: str) -> None:
    import vitcam
    from vitcam.photos import photo_path

    echo(str(vitcam.inspect(vitcam.load_model(spec), photo_path("cat"))))


def _list() -> None:
    from vitcam.models import describe_models

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("--model", no_wrap=True)
    table.add_column("What it is")
    table.add_column("Installed")
    for source in describe_models():
        example = ("" if source.example in source.patterns else f"\ne.g. {source.example}", "dim")
        installed = Text("yes", "green") if source.installed else Text(f"no: {source.remedy}", "yellow")
        table.add_row(
            Text("\n".join(source.patterns), "bold"), Text.assemble(source.gives, example), installed
        )
    stdout().print(table)
