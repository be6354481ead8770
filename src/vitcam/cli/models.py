"""``vitcam models``."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from vitcam.cli.terminal import complain, counted, echo, stdout

MOST = 40
"""Names that are listed for a search, on a terminal."""


def models(
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="[SEARCH]",
            help="Part of a model's name, or with --inspect a whole specification.",
            show_default=False,
        ),
    ] = None,
    inspect: Annotated[
        bool,
        typer.Option(
            "--inspect", help="Load it and show its structure: tokens, layers, head, methods that work."
        ),
    ] = False,
    as_object: Annotated[
        bool,
        typer.Option(
            "--json", metavar="", help="JSON in place of text: the kinds, or the names that are found."
        ),
    ] = False,
) -> None:
    """List the kinds of models that --model takes, with what they take and answer; find models; or look into one.

    A search goes through the lists of timm, torchvision and open_clip, as far as they are installed, without a
    network; words in any order. What it prints can be given to --model. (Hugging Face's models are on its hub.)

    Example: `vitcam models "dinov2 small"`, `vitcam models timm:vit_base_patch16_224 --inspect`
    """
    if inspect and spec is None:
        raise typer.BadParameter("say which model, as in: embedded:photo --inspect", param_hint="SEARCH")
    if inspect and as_object:
        raise typer.BadParameter(
            "what --inspect finds is for people: leave out one of the two", param_hint="--json"
        )
    if as_object:
        _as_json(spec)
    elif spec is None:
        _list()
    elif inspect:
        _look_into(spec)
    else:
        _search(spec)


def _as_json(text: str | None) -> None:
    from vitcam.models import describe_models, find_models

    if text is None:
        names = ("scheme", "patterns", "gives", "example", "installed", "remedy", "inputs", "answers")
        kinds = [{name: getattr(source, name) for name in names} for source in describe_models()]
        echo(json.dumps(kinds, indent=1, ensure_ascii=False))
        return
    found, left_out = find_models(text)
    echo(json.dumps({"models": found, "not_searched": left_out}, indent=1, ensure_ascii=False))
    if not found:
        raise typer.Exit(1)


def _look_into(spec: str) -> None:
    import vitcam
    from vitcam.photos import photo_path

    echo(str(vitcam.inspect(vitcam.load_model(spec), photo_path("cat"))))


def _search(text: str) -> None:
    from vitcam.models import find_models

    found, left_out = find_models(text)
    console = stdout()
    shown = found[:MOST] if console.is_terminal else found
    for spec in shown:
        echo(f"{spec}\n")
    if len(found) > len(shown):
        console.print(
            f"… and {len(found) - len(shown)} more: give more of the name, or pipe this for all of them."
        )
    for library in left_out:
        complain(f"{library} isn't installed, so its models weren't searched.")
    if not found:
        complain(f"no model has {text!r} in its name.")
        raise typer.Exit(1)
    if console.is_terminal:
        console.print(f"{counted(len(found), 'model')}. Look into one: vitcam models {found[0]} --inspect")


def _list() -> None:
    from vitcam.answers.kinds import ANSWERS
    from vitcam.models import describe_models

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("--model", no_wrap=True)
    table.add_column("What it is")
    table.add_column("Installed")
    for source in describe_models():
        example = ("" if source.example in source.patterns else f"\ne.g. {source.example}", "dim")
        installed = Text("yes", "green") if source.installed else Text(f"no: {source.remedy}", "yellow")
        kinds = f"\n{', '.join(source.inputs)} → {', '.join(source.answers)}"
        table.add_row(
            Text("\n".join(source.patterns), "bold"), Text.assemble(source.gives, example, kinds), installed
        )
    table.add_row(
        Text("MODULE:OBJECT", "bold"),
        "a function of yours that returns a model (see docs/own-model.md)\nany kind of input → any answer",
        "",
    )
    console = stdout()
    console.print(table)
    asked = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    asked.add_column("Answer", no_wrap=True)
    asked.add_column("How it is asked for: vitcam.explain(model, images, …)")
    for name, how in ANSWERS.items():
        asked.add_row(Text(name, "bold"), Text(how))
    console.print(asked)
    console.print('Find a model by its name: vitcam models "dinov2 small"')
