"""Explains photographs batch by batch; one that can't be read doesn't stop the others."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitcam.cli.explaining.manifest import Failed
from vitcam.cli.explaining.photographs import Photograph
from vitcam.cli.explaining.run import ExplainRun
from vitcam.errors import ImageError
from vitcam.explaining import Explanation, compare
from vitcam.models.adopted import Adopted
from vitcam.render import thumbnail
from vitcam.threads import map_ahead


@dataclass(frozen=True)
class Result:
    """A photograph explained.

    Attributes:
        size: its (width, height) in pixels, upright.
        explanations: of this image alone, by the methods' names; their pictures of photographs are small.
    """

    photograph: Photograph
    size: tuple[int, int]
    explanations: Mapping[str, Explanation]


@dataclass(frozen=True)
class _Ready:
    """A photograph as the model takes it, and all that is kept of it: a thumbnail of what the model sees."""

    photograph: Photograph
    size: tuple[int, int]
    pixels: Float[Tensor, "*given"]
    small: Image.Image


def explain_in_batches(
    photographs: Sequence[Photograph], run: ExplainRun
) -> Generator[Result | Failed, None, None]:
    """Explains photographs in their order; the methods share the forward pass of each batch.

    The photographs of the next batch are read meanwhile.

    Raises:
        ModelError: the model can't be explained.
        MethodError: a method isn't defined for this model, or an option's value is wrong.
        TargetError: the model has no such class.
    """
    read = partial(_read, preprocessing=run.model.preprocessing)
    if run.tiles is not None:
        for photograph in photographs:
            yield _in_tiles(photograph, run)
        return
    with closing(map_ahead(read, photographs, ahead=run.batch_size)) as reading:
        while batch := list(islice(reading, run.batch_size)):
            results = iter(_explained([one for one in batch if isinstance(one, _Ready)], run))
            for one in batch:
                yield one if isinstance(one, Failed) else next(results)


def _in_tiles(photograph: Photograph, run: ExplainRun) -> Result | Failed:
    """One photograph alone: its tiles are the batches."""
    path = photograph.path
    try:
        explanations = _compared(path, run.targets, run, batch_size=run.batch_size, tiles=run.tiles)
        small = thumbnail(next(iter(explanations.values())).photographs[0])
    except (ImageError, MemoryError) as error:
        return _failed(path, error)
    alone = {name: replace(each.cpu(), photographs=[small]) for name, each in explanations.items()}
    height, width = next(iter(alone.values())).image_size
    return Result(photograph, (width, height), alone)


def _read(photograph: Photograph, preprocessing: Adopted) -> _Ready | Failed:
    try:
        image = preprocessing.read(photograph.path)
    except ImageError as error:  # says which file
        return Failed(str(photograph.path), str(error))
    try:
        pixels, seen = preprocessing(image), preprocessing.seen(image)
        # of what changes in time, moments are cut out of it
        small = thumbnail(seen) if preprocessing.kind.moments is None else seen
    except (ImageError, MemoryError) as error:
        return _failed(photograph.path, error)
    return _Ready(photograph, image.size, pixels, small)


def _explained(batch: Sequence[_Ready], run: ExplainRun) -> Iterable[Result]:
    if not batch:
        return
    explanations = _compared(
        torch.stack([one.pixels for one in batch]),
        [run.targets] * len(batch) if isinstance(run.targets, list) else run.targets,
        run,
        kind=run.model.preprocessing.kind.name,
    )
    for i, one in enumerate(batch):
        alone = {
            name: replace(of_all[i].cpu(), photographs=[one.small]) for name, of_all in explanations.items()
        }
        yield Result(one.photograph, one.size, alone)


def _compared(images: Any, targets: Any, run: ExplainRun, **options: Any) -> Mapping[str, Explanation]:
    return compare(
        run.model,
        images,
        run.methods,
        targets,
        versus=run.versus,
        score=run.score,
        precision=run.precision,
        compile=run.compile,
        **options,
    )


def _failed(path: Path, error: Exception) -> Failed:
    """What is said of a photograph that can't be prepared; the error may begin with its name."""
    text = "there isn't enough memory to prepare it." if isinstance(error, MemoryError) else str(error)
    return Failed(str(path), text if text.startswith(str(path)) else f"{path}: {text}")
