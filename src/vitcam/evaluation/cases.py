"""What a measure is given: heatmaps, and what they are compared with or tried on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam.errors import RunError, VitcamError, is_out_of_memory
from vitcam.evaluation.ground_truth import Truth
from vitcam.evaluation.measure import Measure, resolved
from vitcam.evaluation.measures import MEASURES
from vitcam.evaluation.sanity_case import SanityCase
from vitcam.evaluation.times import MEASURE, timed
from vitcam.recording import Precision
from vitcam.types import Box

Made = TypeVar("Made")


@dataclass(frozen=True)
class LocalizationCase:
    """Heatmaps of one method, and where the objects are.

    Attributes:
        heatmaps: on the patch grid, from which they are stretched over the whole image.
        truths: of each, in pixels of the model's input.
        size: (height, width) of that input.
        threshold: above which a heatmap's pixels count; one of ``thresholds``.
        thresholds: at which they are compared, ascending.
        seed: of what is drawn at random.
        masks: whether the dataset has masks.

    Example:
        >>> def peak(case: LocalizationCase) -> dict[str, Tensor]:
        ...     return {"peak": case.heatmaps.amax((1, 2))}
    """

    heatmaps: Float[Tensor, "batch rows columns"]
    truths: Sequence[Truth] = field(repr=False)
    size: tuple[int, int]
    threshold: float
    thresholds: tuple[float, ...]
    seed: int
    masks: bool

    @property
    def boxes(self) -> list[tuple[Box, ...]]:
        """Around the objects, in pixels of the model's input."""
        return [truth.boxes for truth in self.truths]

    @cached_property
    def regions(self) -> Bool[Tensor, "batch height width"]:
        """The objects' pixels: of their masks, or of their boxes where there is none."""
        return self._stacked("region")

    @cached_property
    def void(self) -> Bool[Tensor, "batch height width"]:
        """Pixels that count nowhere."""
        return self._stacked("void")

    def _stacked(self, name: Literal["region", "void"]) -> Bool[Tensor, "batch height width"]:
        return torch.from_numpy(np.stack([getattr(truth, name) for truth in self.truths]))


class Perturbed(TypedDict):
    """What functions such as ``perturbation_curves`` take by keyword."""

    model: nn.Module
    images: Float[Tensor, "images channels *space"]
    heatmaps: Float[Tensor, "heatmaps ..."]
    targets: Int[Tensor, " heatmaps"]
    multi_label: bool
    precision: Precision


@dataclass(frozen=True)
class PerturbationCase:
    """Heatmaps of the same images by all methods, so that heatmap k is of image k mod images, and their model.

    Attributes:
        model: that explains, given ``images``; it may be run.
        images: its input, with axes (batch, channels, and those of space, which are (frames, height, width) of clips,
            (bands, frames) of sounds and (planes, height, width) of volumes).
        heatmaps: on the patch grid, from which they are stretched over the whole image.
        on_grid: the same where the patches are, also where these cover a part of the image only.
        targets: of each heatmap, the class.
        multi_label: whether classes have probabilities of their own.
        precision: of forward passes.
        steps: of curves.
        seed: of what is drawn at random.
        methods: whose the heatmaps are, as often as there are images each; () where that isn't known.
        black: what black is in the images' unit; None where nothing is.
        explained_again: the heatmaps of some of the images by all methods for other classes, from the images' indices
            and those classes; None where they can't be had.

    Example:
        >>> from vitcam.evaluation.metrics.saco import saco
        >>> def coarse(case: PerturbationCase) -> dict[str, Tensor]:
        ...     return {"coarse": saco(**case.given, groups=4)}
    """

    model: nn.Module = field(repr=False)
    images: Float[Tensor, "images channels *space"]
    heatmaps: Float[Tensor, "heatmaps ..."]
    on_grid: Float[Tensor, "heatmaps ..."]
    targets: Int[Tensor, " heatmaps"]
    multi_label: bool
    precision: Precision
    steps: int
    seed: int
    methods: tuple[str, ...] = ()
    black: Float[Tensor, "3 1 1"] | None = None
    explained_again: Callable[[list[int], Tensor], Tensor] | None = field(default=None, repr=False)
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What several measures need, made for the first of them: nothing runs through the model twice."""
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made

    @property
    def given(self) -> Perturbed:
        """For the functions that follow probabilities."""
        return Perturbed(
            model=self.model,
            images=self.images,
            heatmaps=self.heatmaps,
            targets=self.targets,
            multi_label=self.multi_label,
            precision=self.precision,
        )

    @property
    def by_patch(self) -> PerturbationCase:
        """The same case for a function of patches instead of pixels."""
        return replace(self, heatmaps=self.on_grid, _made={})


AnyCase = LocalizationCase | PerturbationCase | SanityCase


def measured(measures: Iterable[Measure], case: AnyCase) -> dict[str, list[Any]]:
    """The numbers of all measures, by column.

    Raises:
        RunError: a measure doesn't give what it declares, for each heatmap.
    """
    numbers: dict[str, list[Any]] = {}
    for measure in measures:
        with timed(f"{MEASURE}{measure.name}"):
            columns = _computed(measure, case)
        if not isinstance(columns, Mapping):
            raise _wrong(measure, f"returns a {type(columns).__name__}: expected its columns by name")
        for key, values in columns.items():
            if isinstance(values, (Tensor, np.ndarray)):
                values = (values * 1.0 if values.dtype in (torch.bool, np.bool_) else values).tolist()
            numbers[key] = _checked(measure, key, list(values), len(case.heatmaps))
    return numbers


def _computed(measure: Measure, case: AnyCase) -> Any:
    compute = resolved(measure.compute)
    if MEASURES.is_ours(measure):
        return compute(case)
    try:
        return compute(case)
    except Exception as error:
        if isinstance(error, VitcamError) or is_out_of_memory(error):
            raise
        raise _wrong(measure, f"failed: {type(error).__name__}: {error}") from error


def _checked(measure: Measure, key: str, values: list[Any], count: int) -> list[Any]:
    if key not in measure.columns:
        declared = ", ".join(measure.columns)
        raise _wrong(measure, f"gives {key!r}, which it doesn't declare; its columns are {declared}")
    if len(values) != count:
        raise _wrong(
            measure, f"gives {len(values)} values of {key} for {count} heatmaps: expected one of each"
        )
    present = [value for value in values if value is not None]
    shapes = {"curve" if isinstance(value, list) else "number" for value in present}
    if shapes - {measure.columns[key]}:
        raise _wrong(measure, f"gives a {shapes.pop()} as {key}: expected a {measure.columns[key]}")
    return values


def _wrong(measure: Measure, what: str) -> RunError:
    return RunError(f"the measure {measure.name} {what}")
