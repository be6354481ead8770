"""The program ``vitcam``: its commands, its version, and how its errors end it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vitcam import __version__
from vitcam.cli.app import app
from vitcam.cli.bench import bench
from vitcam.cli.classes import classes
from vitcam.cli.evaluate import evaluate
from vitcam.cli.explain import explain
from vitcam.cli.export import export
from vitcam.cli.methods import methods
from vitcam.cli.models import models
from vitcam.cli.report import report
from vitcam.cli.reproduce import reproduce
from vitcam.cli.terminal import complain, stderr
from vitcam.cli.train_head import train_head
from vitcam.errors import (
    MethodError,
    ModelError,
    TargetError,
    VitcamError,
    VitcamWarning,
    is_out_of_memory,
)
from vitcam.printable import one_line, printable

NOT_AS_ASKED = (ModelError, MethodError, TargetError)
"""What was asked for doesn't exist or doesn't fit together: status 2, as for any wrong usage."""


LONGEST = 2048
"""Characters of an argument. No path, name or text of a class has more; deeply nested or endless ones do."""


class Commands(TyperGroup):
    """Ends with one line instead of a traceback where vitcam raised an error on purpose, or the system refused."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **options: Any) -> Any:
        for argument in args:
            if len(argument) > LONGEST:
                raise typer.BadParameter(
                    f"{one_line(argument[:40])}… is too long: {len(argument)} characters."
                )
            if "\0" in argument:  # no shell can pass one on, but whoever calls the program from Python can
                raise typer.BadParameter(f"{one_line(argument)} has a character NUL in it.")
        with _printable_usage():
            return super().make_context(info_name, args, *more, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _printable_usage(), _notes():
                return super().invoke(ctx)
        except VitcamError as error:
            complain(str(error))
            raise typer.Exit(2 if isinstance(error, NOT_AS_ASKED) else 1) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):  # whoever read the output no longer does
                raise
            complain(f"{error.filename}: {error.strerror}." if error.filename else f"{error}.")
            raise typer.Exit(1) from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).partition("\n")[0][:200]
            complain(
                f"There isn't enough memory{f' ({said})' if said else ''}: take less at a time, a smaller model, "
                "or another device."
            )
            raise typer.Exit(1) from error


@contextmanager
def _printable_usage() -> Iterator[None]:
    """What typer says about wrong usage repeats the arguments, which may be the names of files (``explain *``)."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own; the class isn't public
            error.message = printable(getattr(error, "message", ""))  # type: ignore[attr-defined]  # as said above
        raise


@contextmanager
def _notes() -> Iterator[None]:
    """What vitcam warns of is a line for people, and not one of Python."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, VitcamWarning):
                stderr().print(f"Note: {message}", soft_wrap=True)
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show
        yield


program = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback is for a bug report: plain and whole
    rich_markup_mode="markdown",  # the one that joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
)
program.command(no_args_is_help=True)(explain)
program.command(no_args_is_help=True)(evaluate)
program.command(no_args_is_help=True)(report)
program.command(no_args_is_help=True)(reproduce)
program.command(no_args_is_help=True)(train_head)
program.command(no_args_is_help=True)(export)
program.command()(bench)
program.command()(methods)
program.command()(models)
program.command()(classes)
program.command()(app)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"vitcam {__version__}")
        raise typer.Exit
    return wanted


@program.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """See where a Vision Transformer looks when it decides."""
