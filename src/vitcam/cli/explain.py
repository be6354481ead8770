"""``vitcam explain``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitcam.cli.explaining.manifest import Entry, Explained, Failed, manifest_json
from vitcam.cli.explaining.tables import (
    bands_table,
    boxes_table,
    predictions_csv,
    predictions_table,
    tiles_table,
)
from vitcam.cli.options import (
    EMBEDDED,
    MORE_CLASSES,
    AnimationFormat,
    BatchSize,
    Device,
    ModelSpec,
    Precision,
    PrecisionOption,
    ScoredBy,
    Threshold,
    TilesOption,
    read_tiles,
)
from vitcam.cli.terminal import complain, counted, progress_bar, stderr, stdout
from vitcam.writing import write_whole

if TYPE_CHECKING:
    from vitcam.cli.explaining.photographs import Photograph
    from vitcam.cli.explaining.run import ExplainRun

LISTED = 20
"""Photographs whose classes are printed."""

UNSURE = 0.25
"""A most probable class below this isn't what a photograph shows, more often than not."""

FEW = 3
"""Photographs that are done before a progress bar would be of use."""


def explain(
    photographs: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO", help="Files, folders (searched throughout) or patterns in quotes."),
    ],
    model: ModelSpec = EMBEDDED,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            show_default="agcam",
            help="See `vitcam methods`. Options in brackets: 'attention(layer=5)'. Repeat it to "
            "compare methods.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="CLASS",
            show_default="the predicted class",
            help="A class's name or index, or top5 for the five most probable; for CLIP a text such as "
            '"a cat". Repeat it for several classes.',
        ),
    ] = None,
    versus: Annotated[
        str | None,
        typer.Option(
            "--versus",
            metavar="CLASS",
            show_default="no other",
            help="Another class, whose score is taken away: why the one and not the other.",
        ),
    ] = None,
    score: Annotated[
        ScoredBy, typer.Option("--score", help="What a class is scored by, and is differentiated.")
    ] = ScoredBy.LOGIT,
    tiles: TilesOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for panels, maps and manifest.json.")
    ] = Path("vitcam-output"),
    boxes: Annotated[
        bool, typer.Option("--boxes", metavar="", help="Draw and list boxes around the hot areas.")
    ] = False,
    threshold: Threshold = 0.5,
    bands: Annotated[
        bool,
        typer.Option(
            "--bands",
            metavar="",
            help="Say what red, green and blue count, by methods that tell: captum:…, attnlrp.",
        ),
    ] = False,
    precision: PrecisionOption = Precision.FP32,
    batch_size: BatchSize = 8,
    device: Device = None,
    animated: Annotated[
        AnimationFormat | None,
        typer.Option(
            "--animated",
            metavar="webp|gif",
            show_default="none",
            help="Of clips, also write an animation of each map.",
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", metavar="", help="Also write what is found as DIR/predictions.csv.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Print no tables: a summary and errors only.")
    ] = False,
    compile: Annotated[
        bool, typer.Option("--compile", metavar="", help="Compile the model: for GPUs; takes a minute.")
    ] = False,
) -> None:
    """Show where a model looks in photographs (or clips, sounds, scans, if it takes them) when it decides.

    Prints the predicted classes. Writes for each photograph a panel (`NAME.panel.png`: the photograph, and
    its heatmaps by class) and the raw maps (`NAME.METHOD.npy`: float32, targets × rows × columns of patches),
    with `--animated` `NAME.METHOD.N.webp` for the N-th class, from 0; and for the whole run `manifest.json`; with
    `--tiles` also the logits of each tile (`NAME.tiles.npy`: tiles × classes); of several photographs also
    `index.html`, all panels on one page. The table
    of many photographs is cut short; `--csv` has all of it.

    A photograph that can't be read is reported and skipped; the exit status is 1 then, and when output can't
    be written. It is 2 when what was asked for doesn't exist: the model, the method, the class.

    Example: `vitcam explain cat.jpg holiday/ --target top3 --method agcam --method rollout`

    Example: `vitcam explain cat_and_cup.jpg --target cat --versus cup`

    Example: `vitcam explain scan.tif --tiles 224,32`

    Example: `vitcam explain clip.mp4 --model hf:MCG-NJU/videomae-base-finetuned-kinetics --animated webp`
    """
    from vitcam.cli.explaining.photographs import find_photographs, may_be_found_later

    cut = read_tiles(tiles)
    found, missing = find_photographs(photographs, output)
    told = [failure for failure in missing if not may_be_found_later(failure.file)]
    for failure in told:
        complain(failure.error)
    if not found and len(told) == len(missing):
        raise typer.Exit(1)

    from vitcam.cli.explaining.run import ExplainRun

    run = ExplainRun.prepared(
        model=model,
        targets=target or [],
        versus=versus,
        score=score.value,
        methods=method or ["agcam"],
        output=output,
        threshold=threshold if boxes else None,
        precision=precision.value,
        batch_size=batch_size,
        device=device,
        compile=compile,
        tiles=cut,
        bands=bands,
        animated=None if animated is None else animated.value,
    )
    if not run.takes_photographs:
        found, missing = find_photographs(photographs, output, run.model.preprocessing.kind.suffixes)
    for failure in missing:
        if failure.file not in [each.file for each in told]:
            complain(failure.error)
    if not found:
        raise typer.Exit(1)
    start = time.monotonic()
    entries = _explain_and_write(found, missing, run)
    explained = [entry for entry in entries if isinstance(entry, Explained)]
    _tell(explained, run, quiet, seconds=time.monotonic() - start)
    if csv and explained:
        write_whole(run.output / "predictions.csv", predictions_csv(explained))
    if len(explained) < len(entries):
        if len(entries) > 1:
            complain(f"{len(entries) - len(explained)} of {len(entries)} couldn't be explained, see above.")
        raise typer.Exit(1)


def _explain_and_write(
    found: Sequence[Photograph], missing: Sequence[Failed], run: ExplainRun
) -> list[Entry]:
    """Explains one batch while the next is read and pictures of the one before are drawn and written."""
    from vitcam.cli.explaining.batches import Result, explain_in_batches
    from vitcam.cli.explaining.contact_sheet import contact_sheet
    from vitcam.cli.explaining.saving import save
    from vitcam.threads import map_ahead

    done: dict[int, Entry] = {}

    def finish(numbered: tuple[int, Result | Failed]) -> Entry:
        number, result = numbered
        done[number] = result if isinstance(result, Failed) else save(result, run)
        return done[number]

    console = stderr()
    try:
        with (
            closing(explain_in_batches(found, run)) as results,
            closing(map_ahead(finish, enumerate(results), ahead=2 * run.batch_size)) as entries,
            progress_bar(console, enabled=len(found) > FEW) as bar,
        ):
            for entry in bar.track(entries, total=len(found), description="Explaining"):
                if isinstance(entry, Failed):
                    complain(entry.error, console)
    finally:  # when interrupted, too, it lists what was done
        listed = [*missing, *(done[number] for number in sorted(done))]
        if any(isinstance(entry, Explained) for entry in listed):
            write_whole(run.output / "manifest.json", manifest_json(run.described(), listed))
            if len(listed) > 1:
                write_whole(run.output / "index.html", contact_sheet(listed, run))
    return listed


def _tell(explained: Sequence[Explained], run: ExplainRun, quiet: bool, seconds: float) -> None:
    if not explained:
        return
    console = stdout()
    if not quiet:
        shown = explained[:LISTED]
        console.print(predictions_table(shown))
        if run.threshold is not None:
            console.print(boxes_table(shown))
        if run.bands:
            console.print(bands_table(shown))
        if run.tiles is not None:
            console.print(tiles_table(shown))
        if len(explained) > len(shown):
            console.print(
                f"… and {len(explained) - len(shown)} photographs more: see index.html, or give --csv."
            )
    if hint := _hint(explained, run):
        console.print(hint, soft_wrap=True)
    maps = sum(len(entry.maps) for entry in explained)
    console.print(
        f"{counted(len(explained), 'panel')}, {counted(maps, 'file')} of maps and manifest.json are in {run.output} "
        f"({len(explained) / seconds:.1f} photographs/s)",
        soft_wrap=True,
    )


def _hint(explained: Sequence[Explained], run: ExplainRun) -> str:
    """What helps where the shipped model knows too few classes."""
    unsure = sum(entry.predicted[0].probability < UNSURE for entry in explained)
    if run.model.spec != EMBEDDED or not unsure:
        return ""
    of = "this photograph" if len(explained) == 1 else f"{unsure} of {len(explained)} photographs"
    classes = len(run.model.class_names or ())
    return f"{EMBEDDED} knows only {classes} classes, and is unsure about {of}. {MORE_CLASSES}"
