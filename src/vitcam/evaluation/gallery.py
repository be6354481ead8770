"""Small pictures of a run, from which a report draws its gallery: photographs, and heatmaps on the patch grid."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from vitcam.errors import RunError
from vitcam.evaluation.frames import pl
from vitcam.evaluation.measure import Task
from vitcam.evaluation.parts import Parts, damaged
from vitcam.evaluation.rows import KEY, Row

FOLDER = "gallery"
"""Of a run; its files are named like those of its rows."""

SIDE = 112
"""Of a stored photograph, in pixels at most."""

SCHEMA: Mapping[str, Any] = {
    "task": pl.String(),
    "image": pl.String(),
    "method": pl.String(),
    "target": pl.Int64(),
    "picture": pl.Binary(),
}
"""What a picture is known by, as a row is; ``method`` and ``target`` are null for the photograph itself."""

Picture = tuple[Task, str, str | None, int | None, bytes]
"""A row of the stored table."""


def to_pictures(
    task: Task,
    photographs: Mapping[str, Image.Image],
    rows: Sequence[Row],
    heatmaps: Sequence[Float[np.ndarray, "rows columns"]],
    side: int = SIDE,
) -> list[Picture]:
    """The pictures of a batch.

    A photograph becomes a JPEG of at most ``side`` pixels (3 to 4 kB), a heatmap a grey PNG with one pixel
    per patch, min-maxed (about 250 bytes for 14×14): enough to draw the heatmap over the photograph.

    Args:
        task: of the rows.
        photographs: what the model saw of each image, by the image's id.
        rows: what the heatmaps are of; only their keys are looked at.
        heatmaps: one per row, on the patch grid, or as large as the picture that they lie on.
        side: of a photograph.
    """
    pictures: list[Picture] = [
        (task, image, None, None, _jpeg(picture, side)) for image, picture in photographs.items()
    ]
    pictures += [
        (task, row["image"], row["method"], row["target"], _grey_png(heatmap))
        for row, heatmap in zip(rows, heatmaps, strict=True)
    ]
    return pictures


def pictures_frame(pictures: Sequence[Picture]) -> pl.DataFrame:
    """A table of pictures."""
    columns = zip(*pictures, strict=True) if pictures else ((),) * len(SCHEMA)
    return pl.DataFrame(dict(zip(SCHEMA, map(list, columns), strict=True)), schema=dict(SCHEMA))


def merged_pictures(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Pictures of several files in one table, each once, so sorted that those of an image are found quickly."""
    return pl.concat(parts).unique(KEY, keep="last", maintain_order=True).sort(KEY, nulls_last=True)


def read_pictures(run: Path, task: Task, images: Collection[str]) -> dict[tuple[Any, ...], bytes]:
    """The stored pictures of some images of a task, by (image, method, target).

    Files that are damaged count as absent: a run without pictures is still a run.
    """
    by_key: dict[tuple[Any, ...], bytes] = {}
    parts = Parts(run / FOLDER)
    for part in parts.paths():
        wanted = pl.scan_parquet(part).filter(pl.col("task") == task, pl.col("image").is_in(list(images)))
        try:
            with damaged(part):
                pictures = wanted.select(*KEY[1:], "picture").collect()
            if pictures.height:
                parts.verify(part)
        except RunError:
            continue
        by_key |= {tuple(key): picture for *key, picture in pictures.iter_rows()}
    return by_key


def _jpeg(picture: Image.Image, side: int) -> bytes:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=80, optimize=True)
    return content.getvalue()


def _grey_png(heatmap: Float[np.ndarray, "rows columns"]) -> bytes:
    low, high = float(heatmap.min()), float(heatmap.max())
    grey = np.rint((heatmap - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(grey).save(content, "PNG", optimize=True)
    return content.getvalue()
