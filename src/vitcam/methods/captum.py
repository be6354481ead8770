"""Attributions at the pixels by the library captum (optional): the methods ``captum:NAME``."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError, ModelError
from vitcam.methods.bands import bands_of
from vitcam.methods.method import Banded, Bands, Kind, Method
from vitcam.methods.options import at_least as at_least_cells
from vitcam.methods.passes import check_row_by_row, content_of
from vitcam.methods.pixels import cells_of, means_over_patches, patch_numbers
from vitcam.methods.relevance.precise import at_least
from vitcam.recording import Need, Recording, fast_linear, refuse_in_place
from vitcam.types import PatchGrid

# How many changed copies of an image go through the model at a time.
COPIES = 8

Scores = Callable[[Tensor], Tensor]
Image = Float[Tensor, "1 channels *space"]


@dataclass(frozen=True)
class CaptumMethod(Method):
    """A method that is an attribution of captum's.

    Attributes:
        attribution: captum's name of it.
        attribute: from a function that scores images, one image and its patch grid to an attribution of the
            image's shape. Its keyword arguments are the method's options.
    """

    attribution: str = ""
    attribute: Callable[..., Image] = NotImplemented

    @property
    def name(self) -> str:
        return self.called or f"captum:{self.attribution}"

    @property
    def options(self) -> dict[str, Any]:
        parameters = inspect.signature(self.attribute).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def patch_means(
    recording: Recording, attribute: Callable[..., Image], by_band: bool = False, **options: Any
) -> Banded:
    """An attribution of each target's score at the pixels, summed over channels, averaged over each patch.

    It works on any model, since nothing is asked of its inside. Images go through one at a time, ``COPIES``
    changed copies of one together, and noise is seeded by the image's own values and the target: a batch
    gives what its images give one by one.

    The model runs in the precision asked for; one whose weights are in bf16 or fp16 computes in float32.

    A patch is one of the equal parts of ``grid.region`` or of the whole image; outside of it the model sees nothing.

    Args:
        recording: any; its model is run again.
        attribute: see :class:`CaptumMethod`.
        by_band: whether what it gives differs between the channels of a place, so that it tells what each counts.
        **options: of the attribution.

    Raises:
        MethodError: captum isn't installed, or an option's value is wrong.
        ModelError: the score doesn't depend on any image.
    """
    try:
        import captum.attr  # noqa: F401 # before anything is computed
    except ImportError as error:
        raise MethodError(
            "the captum methods need the library captum, which isn't installed: pip install 'vitcam[captum]'"
        ) from error
    for option, value in options.items():
        if value < 0 or (value == 0 and option.startswith("n_")):
            raise MethodError(f"the captum methods take no {option}={value!r}; it must be positive")
    grid = recording.layout.grid
    maps = torch.empty(*recording.targets.shape, grid.tokens, device=recording.targets.device)
    bands = maps.new_zeros(*recording.targets.shape, recording.images.shape[1], 2)
    with recording.resumed() as model, torch.enable_grad(), fast_linear(), at_least(torch.float32):
        check_row_by_row(recording, model)
        for index, (image, targets) in enumerate(zip(recording.images, recording.targets, strict=True)):
            for place, target in enumerate(targets.tolist()):

                def scores(copies: Tensor, index: int = index, place: int = place) -> Tensor:
                    scorer = recording.scorer(slice(index, index + 1), len(copies))
                    score: Tensor = scorer(model(copies))[:, place]
                    if torch.is_grad_enabled() and not score.requires_grad:
                        raise ModelError(
                            f"no gradient goes through {type(model).__name__} from the score to the image: it cuts "
                            "them itself (torch.no_grad, detach, or int8 layers and the like). "
                            "captum:FeatureAblation and captum:ShapleyValueSampling need none"
                        )
                    return score

                least = torch.promote_types(image.dtype, torch.float32)
                with recording.only(index), _seeded(options.get("seed", 0), image, target):
                    given = image[None].to(least, copy=True).requires_grad_()
                    try:
                        pixels = attribute(scores, given, grid, **options)
                    except RuntimeError as error:
                        refuse_in_place(error)
                        raise
                bands[index, place] = bands_of(pixels)[0]
                maps[index, place] = means_over_patches(pixels.detach().float().sum(1), grid)[0]
    if not maps.any() and recording.images.any():  # an image of zeros, such as a blank tile, has nothing
        raise ModelError(
            "every attribution at the pixels is exactly zero, so there is nothing to explain. Is the head "
            "initialised with zeros, or does the score not depend on the image?"
        )
    return Banded(maps, Bands(*bands.unbind(dim=3)) if by_band else None)


@contextlib.contextmanager
def _seeded(seed: int, image: Tensor, target: int) -> Iterator[None]:
    """Both generators that captum draws from, seeded inside the ``with``, and as they were after it."""
    (state,) = np.random.SeedSequence([seed, content_of(image), target + 1]).generate_state(1)
    before = np.random.get_state()
    with torch.random.fork_rng([image.device] if image.is_cuda else []):
        torch.manual_seed(int(state))
        np.random.seed(state)
        try:
            yield
        finally:
            np.random.set_state(before)


def saliency(scores: Scores, image: Image, grid: PatchGrid) -> Image:
    """|∂y/∂x|."""
    from captum.attr import Saliency

    pixels: Tensor = Saliency(scores).attribute(image)
    return pixels


def input_x_gradient(scores: Scores, image: Image, grid: PatchGrid) -> Image:
    """x · ∂y/∂x."""
    from captum.attr import InputXGradient

    pixels: Tensor = InputXGradient(scores).attribute(image)
    return pixels


def integrated_gradients(scores: Scores, image: Image, grid: PatchGrid, *, n_steps: int = 50) -> Image:
    """x times the mean of ∂y/∂x on the straight way from zero to x; it sums to y(x) − y(0)."""
    from captum.attr import IntegratedGradients

    pixels: Tensor = IntegratedGradients(scores).attribute(image, n_steps=n_steps, internal_batch_size=COPIES)
    return pixels


def gradient_shap(
    scores: Scores, image: Image, grid: PatchGrid, *, n_samples: int = 50, noise: float = 0.0, seed: int = 0
) -> Image:
    """x times the mean of ∂y/∂x at random places on the way from zero to x, with noise on x if asked for."""
    from captum.attr import GradientShap

    attribution, baseline = GradientShap(scores), torch.zeros_like(image)
    parts = [min(COPIES, n_samples - start) for start in range(0, n_samples, COPIES)]
    sums = [
        attribution.attribute(image, baseline, n_samples=part, stdevs=_deviation(noise, image)) * part
        for part in parts
    ]
    return torch.stack(sums).sum(dim=0) / n_samples


def smooth_grad(
    scores: Scores, image: Image, grid: PatchGrid, *, n_samples: int = 50, noise: float = 0.15, seed: int = 0
) -> Image:
    """|mean of ∂y/∂x| over noisy copies of x (captum's NoiseTunnel around Saliency)."""
    from captum.attr import NoiseTunnel, Saliency

    mean: Tensor = NoiseTunnel(Saliency(scores)).attribute(
        image,
        nt_samples=n_samples,
        nt_samples_batch_size=COPIES,
        stdevs=_deviation(noise, image),
        abs=False,
    )
    return mean.abs()


def feature_ablation(scores: Scores, image: Image, grid: PatchGrid) -> Image:
    """How much y falls when a patch is set to zero, shared among the channels."""
    from captum.attr import FeatureAblation

    pixels: Tensor = FeatureAblation(scores).attribute(
        image, feature_mask=_patch_numbers(image, grid), perturbations_per_eval=COPIES
    )
    return pixels / image.shape[1]


def shapley_value_sampling(
    scores: Scores, image: Image, grid: PatchGrid, *, n_samples: int = 5, seed: int = 0
) -> Image:
    """How much y rises on average when a patch joins others, in random orders, shared among the channels."""
    from captum.attr import ShapleyValueSampling

    pixels: Tensor = ShapleyValueSampling(scores).attribute(
        image,
        feature_mask=_patch_numbers(image, grid),
        n_samples=n_samples,
        perturbations_per_eval=COPIES,
    )
    return pixels / image.shape[1]


def kernel_shap(
    scores: Scores, image: Image, grid: PatchGrid, *, n_samples: int = 1000, cells: int = 7, seed: int = 0
) -> Image:
    """Shapley values of cells of patches, by a weighted regression on which of them are there."""
    from captum.attr import KernelShap

    _check_sklearn("KernelShap")
    pixels: Tensor = KernelShap(scores).attribute(
        image,
        feature_mask=_cell_numbers(image, grid, cells),
        n_samples=n_samples,
        perturbations_per_eval=COPIES,
    )
    return pixels / image.shape[1]


def lime(
    scores: Scores, image: Image, grid: PatchGrid, *, n_samples: int = 1000, cells: int = 7, seed: int = 0
) -> Image:
    """Coefficients of a ridge regression (α = 1, as in LIME's own code) on which cells of patches are there."""
    from captum.attr import Lime

    _check_sklearn("Lime")
    from captum._utils.models.linear_model import SkLearnRidge

    pixels: Tensor = Lime(scores, interpretable_model=SkLearnRidge(alpha=1.0)).attribute(
        image,
        feature_mask=_cell_numbers(image, grid, cells),
        n_samples=n_samples,
        perturbations_per_eval=COPIES,
    )
    return pixels / image.shape[1]


def _check_sklearn(name: str) -> None:
    try:
        import_module("sklearn")
    except ImportError as error:
        raise MethodError(
            f"captum:{name} needs scikit-learn, which isn't installed: pip install scikit-learn"
        ) from error


def _cell_numbers(image: Image, grid: PatchGrid, cells: int) -> Tensor:
    at_least_cells("the captum methods", "cells", cells, 1)
    cell = cells_of(grid, cells)
    of_number = torch.cat([cell, cell.max()[None] + 1])  # pixels of no patch are a cell of their own
    return of_number.to(image.device)[_patch_numbers(image, grid)]


def _patch_numbers(image: Image, grid: PatchGrid) -> Tensor:
    return patch_numbers(grid, tuple(image.shape[2:])).to(image.device)


def _deviation(noise: float, image: Image) -> float:
    """Of noise that is given as a share of the image's range of values."""
    return noise * float((image.max() - image.min()).detach())


def _method(
    attribution: str,
    attribute: Callable[..., Image],
    summary: str,
    paper: str,
    kind: Kind = "gradients",
    adds_up: bool = False,
) -> CaptumMethod:
    return CaptumMethod(
        compute=partial(patch_means, attribute=attribute, by_band=kind == "gradients"),
        needs=lambda options: Need.NOTHING,
        kind=kind,
        summary=f"{summary} (needs captum)",
        passes="passes of its own, image by image",
        paper=paper,
        plain_vit_only=False,
        adds_up="pixels" if adds_up else "",
        many_passes=attribution not in ("Saliency", "InputXGradient"),
        attribution=attribution,
        attribute=attribute,
    )


METHODS = (
    _method("Saliency", saliency, "magnitude of the gradient at the pixels", "arXiv 1312.6034"),
    _method("InputXGradient", input_x_gradient, "pixel × gradient", "arXiv 1605.01713"),
    _method(
        "IntegratedGradients",
        integrated_gradients,
        "pixel × mean gradient on the way from zero to the image",
        "arXiv 1703.01365",
        adds_up=True,
    ),
    _method(
        "GradientShap",
        gradient_shap,
        "pixel × mean gradient at random places between zero and the image",
        "arXiv 1705.07874",
        adds_up=True,
    ),
    _method("SmoothGrad", smooth_grad, "magnitude of the mean gradient of noisy copies", "arXiv 1706.03825"),
    _method(
        "FeatureAblation",
        feature_ablation,
        "fall of the score when a patch is set to zero",
        "arXiv 1311.2901",
        "masked passes",
    ),
    _method(
        "ShapleyValueSampling",
        shapley_value_sampling,
        "mean rise of the score when a patch joins a random set of others",
        "doi 10.1016/j.cor.2008.04.004",
        "masked passes",
        adds_up=True,
    ),
    _method(
        "KernelShap",
        kernel_shap,
        "Shapley values of cells of patches by a weighted regression",
        "arXiv 1705.07874",
        "masked passes",
    ),
    _method(
        "Lime",
        lime,
        "a ridge regression of the score on which cells of patches are there",
        "arXiv 1602.04938",
        "masked passes",
    ),
)
