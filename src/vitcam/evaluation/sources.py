"""Whether the photographs and annotations of a run are still those that it was begun with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from vitcam.errors import RunError
from vitcam.evaluation.datasets import Dataset
from vitcam.evaluation.frames import pl
from vitcam.evaluation.loading import Photographs
from vitcam.evaluation.plan import Plan
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.stored_rows import StoredRows
from vitcam.threads import map_ahead

_AHEAD = 64


def keep_sources(folder: RunFolder, dataset: Dataset, plan: Plan) -> None:
    """Stores a digest of each photograph's annotation and size, as a run begins.

    Raises:
        RunError: it can't be written.
    """
    folder.sources.add(_now(dataset, plan))


def check_sources(folder: RunFolder, dataset: Dataset, plan: Plan) -> Iterator[str]:
    """Refuses to go on with a run whose photographs or annotations have changed since it began.

    Those that couldn't be measured may have been mended.

    Yields:
        What people should know: that a run of an early version kept no digests.

    Raises:
        RunError: naming one that has changed, and how many there are.
    """
    kept = folder.sources.verified()
    if not kept:
        yield (
            "The run was begun by a version of vitcam that kept no digests: whether its photographs and annotations "
            "have changed meanwhile can't be told"
        )
        keep_sources(folder, dataset, plan)
        return
    now = _now(dataset, plan)
    changed = now.join(_kept(folder), on="image", how="left", suffix=" before")
    changed = changed.filter(pl.col("annotation") != pl.col("annotation before"))
    if changed.is_empty():
        return
    rows = folder.stored_rows.images
    by_image = rows.group_by("image").agg(pl.col("scored").any(), pl.lit(True).alias("begun"))
    mended = by_image.filter(~pl.col("scored"))
    _refuse(folder, changed.join(mended, on="image", how="anti"), plan, "since the run began")
    folder.sources.add(changed.select("image", "annotation"))


def check_rows(folder: RunFolder, rows: StoredRows) -> None:
    """Refuses rows that were made from other annotations than those that the run knows of.

    Raises:
        RunError: naming one, and how many there are.
    """
    kept = _kept(folder)
    made = rows.images.filter(pl.col("scored") & pl.col("annotation").is_not_null())
    changed = made.join(kept, on="image", how="inner", suffix=" kept")
    changed = changed.filter(pl.col("annotation") != pl.col("annotation kept")).unique(
        "image", maintain_order=True
    )
    _refuse(folder, changed, None, "while the run was going on")


def verify_photographs(
    folder: RunFolder, dataset: Dataset, plan: Plan, photographs: Photographs, tell: Callable[[str], None]
) -> None:
    """Reads every measured photograph again, and compares it with what its rows were made from.

    Raises:
        RunError: naming one that has changed, and how many there are.
    """
    rows = folder.stored_rows.images.filter(pl.col("scored")).unique(
        "image", keep="first", maintain_order=True
    )
    known = dict(rows.filter(pl.col("photograph").is_not_null()).select("image", "photograph").iter_rows())
    ids = dataset.ids
    indices = [index for index in plan.indices if ids[index] in known]
    changed = []
    with closing(map_ahead(photographs.made_from, indices, ahead=_AHEAD)) as found:
        for index, made_from in zip(indices, found, strict=True):
            if made_from.photograph != known[ids[index]]:
                changed.append(ids[index])
    _refuse(
        folder,
        pl.DataFrame({"image": changed}, schema={"image": pl.String()}),
        plan,
        "since they were measured",
    )
    tell(
        f"{len(indices)} measured photographs are what they were"
        + (
            f"; {rows.height - len(known)} others have rows without a digest"
            if len(known) < rows.height
            else ""
        )
    )


def _refuse(folder: RunFolder, changed: pl.DataFrame, plan: Plan | None, when: str) -> None:
    if changed.is_empty():
        return
    of = f" of the {len(plan.indices)}" if plan else ""
    raise RunError(
        f"{changed.height}{of} photographs of the run {folder.path}, or their boxes, masks or labels, have changed "
        f"{when}, the first {changed['image'][0]!r}. Rows made from the old ones and from the new ones don't belong "
        "together: put the old ones back, or give another output folder for a new run"
    )


def _now(dataset: Dataset, plan: Plan) -> pl.DataFrame:
    ids = dataset.ids
    columns = {"image": [ids[index] for index in plan.indices], "annotation": plan.annotations}
    return pl.DataFrame(columns, schema={"image": pl.String(), "annotation": pl.String()})


def _kept(folder: RunFolder) -> pl.DataFrame:
    """What was kept last of each photograph."""
    paths = folder.sources.verified()
    if not paths:
        return pl.DataFrame(schema={"image": pl.String(), "annotation": pl.String()})
    return pl.concat(map(pl.read_parquet, paths)).unique("image", keep="last", maintain_order=True)
