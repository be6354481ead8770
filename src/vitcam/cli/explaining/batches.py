"""Explains photographs batch by batch; one that can't be read doesn't stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from vitcam.cli.explaining.manifest import Failed
from vitcam.cli.explaining.photographs import Photograph
from vitcam.cli.explaining.run import Run
from vitcam.errors import ImageError
from vitcam.explaining import compare
from vitcam.explanation import Explanation
from vitcam.images import open_image


@dataclass(frozen=True)
class Result:
    """A photograph explained.

    Attributes:
        size: its (width, height) in pixels, upright.
        explanations: of this image alone, by the methods' names.
    """

    photograph: Photograph
    size: tuple[int, int]
    explanations: Mapping[str, Explanation]


def explain_in_batches(photographs: Sequence[Photograph], run: Run) -> Iterator[Result | Failed]:
    """Explains photographs in their order; the methods share the forward pass of each batch.

    Raises:
        ModelError: the model can't be explained.
        MethodError: a method isn't defined for this model, or an option's value is wrong.
        TargetError: the model has no such class.
    """
    for start in range(0, len(photographs), run.batch_size):
        batch = photographs[start : start + run.batch_size]
        opened = {photograph: _opened(photograph) for photograph in batch}
        pictures = {key: picture for key, picture in opened.items() if isinstance(picture, Image.Image)}
        results = _explained(pictures, run)
        for photograph, picture in opened.items():
            yield picture if isinstance(picture, Failed) else results[photograph]


def _opened(photograph: Photograph) -> Image.Image | Failed:
    try:
        return open_image(photograph.path)
    except ImageError as error:  # says which file
        return Failed(str(photograph.path), str(error))


def _explained(pictures: Mapping[Photograph, Image.Image], run: Run) -> dict[Photograph, Result | Failed]:
    if not pictures:
        return {}
    try:
        explanations = compare(
            run.model,
            list(pictures.values()),
            run.methods,
            [run.targets] * len(pictures) if isinstance(run.targets, list) else run.targets,
            precision=run.precision,
            batch_size=len(pictures),
        )
    except ImageError as error:
        if len(pictures) == 1:
            (photograph,) = pictures
            return {photograph: Failed(str(photograph.path), f"{photograph.path}: {error}")}
        # one of them spoils the batch: without the others it shows which
        alone = (_explained({photograph: picture}, run) for photograph, picture in pictures.items())
        return {photograph: result for results in alone for photograph, result in results.items()}
    return {
        photograph: Result(
            photograph, picture.size, {name: _only(batch, i) for name, batch in explanations.items()}
        )
        for i, (photograph, picture) in enumerate(pictures.items())
    }


def _only(explanation: Explanation, i: int) -> Explanation:
    """Image ``i`` of a batch by itself."""
    return replace(
        explanation,
        heatmaps=explanation.heatmaps[i : i + 1],
        targets=explanation.targets[i : i + 1],
        logits=None if explanation.logits is None else explanation.logits[i : i + 1],
        photographs=[explanation.photographs[i]],
    )
