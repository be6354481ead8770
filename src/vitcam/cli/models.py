"""``vitcam models``."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from vitcam.cli.terminal import stdout


def models() -> None:
    """List the kinds of models that --model takes, and whether what they need is installed."""
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
