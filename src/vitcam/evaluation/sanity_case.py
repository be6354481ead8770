"""What a measure of sanity is given: heatmaps, and a way to make others: of other images, weights and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.evaluation.job import maps_of
from vitcam.evaluation.metrics.maps import pixel_maps
from vitcam.evaluation.randomising import Twin
from vitcam.explaining import compare
from vitcam.recording import Precision


@dataclass(frozen=True)
class Maps:
    """Heatmaps of images by methods, so that heatmap k is of image k mod images.

    Attributes:
        heatmaps: on the patch grid, from which they are stretched over the whole image.
        on_grid: the same where the patches are, also where these cover a part of the image only.
        logits: of the images; None if the model has none.
    """

    heatmaps: Float[Tensor, "heatmaps rows columns"]
    on_grid: Float[Tensor, "heatmaps grid_rows grid_columns"]
    logits: Float[Tensor, "images classes"] | None = field(repr=False)


def explained(
    model: nn.Module,
    methods: Sequence[str],
    images: Float[Tensor, "images 3 height width"],
    targets: Int[Tensor, " images"] | None,
    precision: Precision,
) -> tuple[Maps, Int[Tensor, " images"]]:
    """The maps of images by methods, which share passes, and the class of each image.

    Args:
        model: that explains.
        methods: names.
        images: its input.
        targets: of each, the class; None for the predicted one.
        precision: of the forward pass.
    """
    wanted = None if targets is None else targets[:, None]
    found = list(compare(model, images, methods, wanted, precision=precision).values())
    heatmaps, on_grid = (
        torch.cat([maps[:, 0] for maps in all_maps])
        for all_maps in zip(*((maps_of(one), one.heatmaps) for one in found), strict=True)
    )
    return Maps(heatmaps, on_grid, found[0].logits), found[0].targets[:, 0]


@dataclass(frozen=True)
class SanityCase:
    """Heatmaps of the same images by all methods, so that heatmap k is of image k mod images, and how to make more.

    Attributes:
        model: that explains; it may be run.
        methods: names; the maps of the first come first.
        images: its input.
        heatmaps: on the patch grid, from which they are stretched over the whole image.
        on_grid: the same where the patches are, also where these cover a part of the image only.
        targets: of each heatmap, the class: that which the model predicts.
        logits: of each image; None if the model has none.
        multi_label: whether classes have probabilities of their own.
        precision: of forward passes.
        seed: of what is drawn at random.
        twin: the model with other weights.

    Example:
        >>> def flipped(case: SanityCase) -> dict[str, Tensor]:
        ...     maps = case.explain(case.images.flip(-1)).heatmaps.flip(-1)
        ...     return {"flipped": (maps - case.heatmaps).abs().mean((1, 2))}
    """

    model: nn.Module = field(repr=False)
    methods: tuple[str, ...]
    images: Float[Tensor, "images 3 height width"] = field(repr=False)
    heatmaps: Float[Tensor, "heatmaps rows columns"]
    on_grid: Float[Tensor, "heatmaps grid_rows grid_columns"]
    targets: Int[Tensor, " heatmaps"]
    logits: Float[Tensor, "images classes"] | None
    multi_label: bool
    precision: Precision
    seed: int
    twin: Twin = field(repr=False)

    @cached_property
    def pixels(self) -> Float[Tensor, "heatmaps height width"]:
        """The heatmaps, upsampled to the images and min-maxed to 0..1."""
        return self.in_pixels(self.heatmaps)

    def in_pixels(
        self, heatmaps: Float[Tensor, "heatmaps rows columns"]
    ) -> Float[Tensor, "heatmaps height width"]:
        """Other heatmaps of images of this size, likewise."""
        return pixel_maps(heatmaps, (self.images.shape[2], self.images.shape[3]))

    def of_method(self, method: str) -> slice:
        """The places of a method's heatmaps."""
        start = self.methods.index(method) * len(self.images)
        return slice(start, start + len(self.images))

    def explain(
        self,
        images: Float[Tensor, "images 3 height width"] | None = None,
        targets: Int[Tensor, " images"] | None = None,
        model: nn.Module | None = None,
        methods: Sequence[str] | None = None,
    ) -> Maps:
        """The maps that methods make of something else; they share passes.

        Args:
            images: None for the case's.
            targets: of each image, the class; None for the case's.
            model: None for the case's; see ``random_model``.
            methods: None for all.
        """
        maps, _ = explained(
            self.model if model is None else model,
            self.methods if methods is None else methods,
            self.images if images is None else images,
            self.targets[: len(self.images)] if targets is None else targets,
            self.precision,
        )
        return maps

    def random_model(self, stages: Sequence[int] | None = None) -> nn.Module:
        """The model with some of its layers' weights drawn anew; the next call gives the same one other weights.

        Args:
            stages: which, counted from the head down to ``len(case.twin.stages(case.images)) - 1``; None for all.
        """
        every = range(len(self.twin.stages(self.images)))
        return self.twin.randomised(self.images, every if stages is None else stages)

    @cached_property
    def randomly(self) -> Maps:
        """The maps of the images by a model all of whose weights were drawn anew."""
        return self.explain(model=self.random_model())
