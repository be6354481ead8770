"""What a measure of sanity is given: heatmaps, and a way to make others: of other images, weights and classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.evaluation.job import check_one_grid, compared, maps_of
from vitcam.evaluation.metrics.maps import pixel_maps
from vitcam.evaluation.metrics.noise import uniform_neighbours
from vitcam.evaluation.randomising import Twin
from vitcam.recording import Precision

NEIGHBOURS = 5
"""Images around each image that robustness is measured with."""

RADIUS = 0.2
"""How far each of their values may be from the image's, in the unit of the normalised images."""


_TOLERANCE = 1e-2
"""Of a copy's logits, as a share of their range: rounding in bf16."""


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


@dataclass(frozen=True)
class Neighbours:
    """Images that differ a little from a case's, and their maps of the same classes.

    Attributes:
        images: what the model is given.
        on_grid: their maps where the patches are, by all methods.
        logits: of them; None if the model has none.
    """

    images: Float[Tensor, "neighbours images 3 height width"] = field(repr=False)
    on_grid: Float[Tensor, "neighbours heatmaps grid_rows grid_columns"]
    logits: Float[Tensor, "neighbours images classes"] | None


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
    explanations = compared(model, images, methods, wanted, precision)
    check_one_grid(explanations)
    found = list(explanations.values())
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

    def random_model(self, stages: Collection[int] | None = None) -> nn.Module:
        """The model with some of its layers' weights drawn anew; the next call gives the same one other weights.

        Args:
            stages: which, counted from the head down to ``case.stages - 1``; None for all.
        """
        return self.twin.randomised(self.images, range(self.stages) if stages is None else stages)

    @property
    def stages(self) -> int:
        """In how many steps the model's layers are randomised.

        Raises:
            ModelError: the model can't be copied, or a copy answers otherwise.
        """
        if not self.twin.checked:
            self._check_twin()
            self.twin.checked = True
        return len(self.twin.stages(self.images))

    def _check_twin(self) -> None:
        """Makes sure that a copy answers as the model does, before its weights change.

        It is looked into for that, so that what is found out about its structure is found out of trained weights.
        """
        answers = self.explain(model=self.twin.copy).logits
        if self.logits is None or answers is None:
            return
        spread = (self.logits.amax() - self.logits.amin()).item()
        if not torch.allclose(answers.float(), self.logits.float(), rtol=0, atol=_TOLERANCE * spread):
            raise ModelError(
                f"a copy of {type(self.model).__name__} answers otherwise than the model itself, so that maps of a "
                "copy with other weights say nothing about it. Choose with --test what needs no other weights"
            )

    @cached_property
    def neighbours(self) -> Neighbours:
        """``NEIGHBOURS`` images around each image, drawn uniformly within ``RADIUS``, and their maps."""
        images = uniform_neighbours(self.images, NEIGHBOURS, RADIUS, self.seed)
        found = [self.explain(each) for each in images]
        logits = [maps.logits for maps in found if maps.logits is not None]
        on_grid = torch.stack([maps.on_grid for maps in found])
        return Neighbours(images, on_grid, torch.stack(logits) if logits else None)

    @cached_property
    def masked(self) -> Float[Tensor, "heatmaps height width"]:
        """The map of each image seen through its heatmap, by the same method and of the same class, as ``pixels``."""
        parts = [(method, self.of_method(method)) for method in self.methods]
        maps = [self.explain(self.through(part), methods=[method]).heatmaps for method, part in parts]
        return self.in_pixels(torch.cat(maps))

    def through(self, heatmaps: slice) -> Float[Tensor, "some 3 height width"]:
        """Images seen through heatmaps: the model's input times the heatmap in 0..1, so that what is cold is grey."""
        places = torch.arange(len(self.heatmaps))[heatmaps] % len(self.images)
        return self.images[places] * self.pixels[heatmaps].unsqueeze(1)

    def with_maps(self, maps: Maps) -> SanityCase:
        """The case of other heatmaps."""
        return replace(self, heatmaps=maps.heatmaps, on_grid=maps.on_grid)

    @cached_property
    def randomly(self) -> Maps:
        """The maps of the images by a model all of whose weights were drawn anew."""
        return self.explain(model=self.random_model())
