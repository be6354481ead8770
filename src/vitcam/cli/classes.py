"""``vitcam classes``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from vitcam.cli.options import EMBEDDED, ModelSpec
from vitcam.cli.terminal import complain, counted, stdout
from vitcam.printable import one_line


def classes(
    search: Annotated[str | None, typer.Argument(help="Part of a class's name.", show_default=False)] = None,
    model: ModelSpec = EMBEDDED,
) -> None:
    """List the classes of a model, or those that have a text in their names: what --target takes.

    Its weights are loaded for it, since they decide.

    Example: `vitcam classes cat`, `vitcam classes --model timm:vit_base_patch16_224 terrier`
    """
    from vitcam.models import load_model

    loaded = load_model(model)
    if loaded.class_names is None:
        why = (
            'it compares photographs with texts: --target "a cat" --target "a dog"'
            if loaded.promptable
            else "give --target the index of a class"
        )
        complain(f"{loaded.spec} has no class names: {why}.")
        raise typer.Exit(1)
    found = loaded.find_classes(search or "")
    if not found:
        complain(f"{loaded.spec} has no class with {search!r} in its name, among {len(loaded.class_names)}.")
        raise typer.Exit(1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Index", justify="right")
    table.add_column("Class")
    if loaded.wordnet_ids is not None:
        table.add_column("WordNet")
    for index in found:
        ids = [] if loaded.wordnet_ids is None else [" ".join(loaded.wordnet_ids[index])]
        table.add_row(str(index), Text(one_line(loaded.class_names[index])), *ids)
    console = stdout()
    console.print(table)
    of = "" if search is None else f" of {len(loaded.class_names)}"
    console.print(f"{counted(len(found), 'class', 'classes')}{of} of {loaded.spec}", soft_wrap=True)
