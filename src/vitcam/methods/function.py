"""Functions of a model, images and classes as methods: explainers of other libraries, or one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MapError, MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.pixels import means_over_patches
from vitcam.recording import Need, Recording
from vitcam.types import PatchGrid


@dataclass(frozen=True)
class FunctionMethod(Method):
    """A method that is a plain function ``(model, images, targets) -> maps``.

    Attributes:
        explainer: the function. Its keyword arguments are the method's options.
    """

    explainer: Callable[..., Any] = NotImplemented

    @property
    def options(self) -> dict[str, Any]:
        return _options(self.explainer)


def of_function(explainer: Callable[..., Any], name: str) -> FunctionMethod:
    """A method from a function of the model, its images and a class for each.

    The function gets the model, evaluating and with frozen parameters; images (batch, 3, height, width), which
    require gradients; and classes (batch,). It gives one map for each image: a tensor or an array (batch, height,
    width) of the images' pixels, which are averaged over each patch, or of the patches themselves; channels (batch,
    channels, height, width) are summed first. It is called once for each of several classes.

    Raises:
        MethodError: the function can't be called with three arguments.

    Example:
        >>> brightness = of_function(lambda model, images, targets: images.mean(dim=1), "brightness")
        >>> brightness.name, brightness.options
        ('brightness', {})
    """
    try:
        inspect.signature(explainer).bind(None, None, None)
    except (TypeError, ValueError) as error:
        raise MethodError(
            f"the method {name} is a function that can't be called with (model, images, targets): {error}"
        ) from error
    summary = (inspect.getdoc(explainer) or "a function of model, images and classes").splitlines()[0]
    return FunctionMethod(
        compute=partial(maps_of, explainer=explainer, name=name),
        needs=lambda options: Need.NOTHING,
        summary=summary,
        passes="passes of its own",
        paper="",
        plain_vit_only=False,
        called=name,
        explainer=explainer,
    )


def maps_of(recording: Recording, explainer: Callable[..., Any], name: str, **options: Any) -> TokenMap:
    """What a function gives for each target.

    Raises:
        MethodError: the targets aren't classes alone, or the function doesn't give one map for each image.
        MapError: a map isn't finite.
    """
    score = recording.score
    if not score.of_logits:
        raise MethodError(
            f"{name} is a function of model, images and classes: it can't explain a function of the model's output"
        )
    if score.versus is not None or score.scale is not None or score.sign < 0:
        raise MethodError(
            f"{name} is a function of model, images and classes: how it scores a class is its own, so that versus=, "
            "score= and direction= have no meaning for it"
        )
    maps = []
    with recording.resumed() as model, torch.enable_grad():
        for targets in recording.targets.unbind(dim=1):
            images = recording.images.detach().clone().requires_grad_()
            given = explainer(model, images, targets.clone(), **options)
            maps.append(_over_patches(name, given, images, recording.layout.grid))
    return torch.stack(maps, dim=1)


def _over_patches(name: str, given: Any, images: Tensor, grid: PatchGrid) -> Float[Tensor, "batch patches"]:
    if not isinstance(given, (Tensor, np.ndarray)):
        raise MethodError(
            f"{name} gives a {type(given).__name__}: expected a tensor or an array with one map for each image"
        )
    maps = torch.as_tensor(given).detach().to(images.device, torch.float32)
    if maps.ndim == images.ndim:
        maps = maps.sum(dim=1)
    pixels, patches = tuple(images.shape[2:]), grid.shape
    if (
        maps.ndim != images.ndim - 1
        or len(maps) != len(images)
        or tuple(maps.shape[1:]) not in (pixels, patches)
    ):
        raise MethodError(
            f"{name} gives maps of shape {tuple(given.shape)}: expected {(len(images), *pixels)}, a map over the "
            f"pixels of each image, or {(len(images), *patches)}, one over its patches"
        )
    if not (finite := maps.flatten(1).isfinite().all(dim=1)).all():
        raise MapError(
            f"{name} gives NaN or infinite values, first for image {int((~finite).nonzero()[0])} of the batch"
        )
    return means_over_patches(maps, grid) if tuple(maps.shape[1:]) == pixels else maps.flatten(1)


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {
        each.name: each.default
        for each in parameters
        if each.kind is inspect.Parameter.KEYWORD_ONLY and each.default is not inspect.Parameter.empty
    }
