"""A copy of a model whose weights are drawn anew, layer by layer: a model that knows nothing."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording import fast_linear, preserved

STAGES = 6
"""In how many steps a model's layers are randomised: its head, and the others in groups of equal size."""


class Twin:
    """A model beside a model: the same layers, some of them with weights that were drawn anew.

    The model itself is never written to, so that nothing is to be undone, whatever happens, and other threads may use
    it meanwhile; that costs the memory of its weights once more. A parameter is drawn from the normal distribution
    with the mean and the standard deviation of its own values, so that signals keep their strength; the source
    initialises layers as their library does, which parameters of one's own (class tokens, positions, scales) have no
    rule for. Parameters whose values are all alike stay as they are, and so do buffers.

    Source: Adebayo et al. 2018, arXiv 1810.03292.

    Args:
        model: that is copied, when it is first needed.
        seed: of the draws. Each parameter has draws of its own, whatever else is drawn.

    Attributes:
        checked: whether somebody has made sure that the copy answers as the model does.

    Example:
        >>> twin = Twin(model, seed=0)
        >>> fully_random = twin.randomised(images, range(len(twin.stages(images))))
        >>> vitcam.explain(fully_random, images).heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        self._model, self._seed = model, seed
        self._copy: nn.Module | None = None
        self._stages: list[tuple[str, ...]] = []
        self._random: set[int] = set()
        self.checked = False

    @property
    def copy(self) -> nn.Module:
        """The copy, as it is at the moment.

        Raises:
            ModelError: the model can't be copied.
        """
        if self._copy is None:
            try:
                self._copy = deepcopy(self._model)
            except (RuntimeError, TypeError, NotImplementedError) as error:
                raise ModelError(
                    f"{type(self._model).__name__} can't be copied, so that no weights can be drawn anew beside it "
                    f"({error}). Choose with --test what needs no other weights"
                ) from error
        return self._copy

    def stages(self, images: Float[Tensor, "batch 3 height width"]) -> list[tuple[str, ...]]:
        """The names of the parameters that are randomised together, from the head down."""
        if not self._stages:
            self._stages = stages_of(self.copy, images)
        return self._stages

    def randomised(self, images: Float[Tensor, "batch 3 height width"], stages: Collection[int]) -> nn.Module:
        """The copy with these stages drawn anew, and all others as in the model.

        Args:
            images: by which the order of the layers is found out.
            stages: by their places in ``stages``.
        """
        groups, wanted = self.stages(images), set(stages)
        originals, written = dict(self._model.named_parameters()), dict(self.copy.named_parameters())
        for stage in sorted(self._random ^ wanted):
            for name in groups[stage]:
                original = originals[name].detach()
                value = drawn_anew(original, name, self._seed) if stage in wanted else original
                with torch.no_grad():
                    written[name].copy_(value)
        self._random = wanted
        return self.copy


def stages_of(
    model: nn.Module, images: Float[Tensor, "batch 3 height width"], count: int = STAGES
) -> list[tuple[str, ...]]:
    """The names of a model's parameters: those of the layer that runs last, then the others in equal groups upwards.

    A layer is a module with parameters of its own. One that doesn't run itself, since another uses its weights, goes
    with the module around it.

    Args:
        model: left as it is.
        images: the first is run, to see in which order layers run.
        count: of groups; fewer where there are fewer layers.
    """
    layers = list(_layers_in_order(model, images))
    last, others = layers[-1], layers[-2::-1]
    groups = np.array_split(np.arange(len(others)), min(count - 1, len(others))) if others else []
    return [tuple(last), *(tuple(name for i in group for name in others[i]) for group in groups)]


def _layers_in_order(model: nn.Module, images: Tensor) -> Iterator[list[str]]:
    began: dict[str, int] = {}
    with preserved(model), ExitStack() as hooks, torch.no_grad(), fast_linear():
        for path, module in model.named_modules():
            hook = module.register_forward_pre_hook(partial(_note, began, path))
            hooks.callback(hook.remove)
        model(images[:1].to(next(model.parameters()).dtype))
    layers: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            path = name.rpartition(".")[0]
            while path and path not in began:
                path = path.rpartition(".")[0]
            layers.setdefault(path, []).append(name)
    return iter([layers[path] for path in sorted(layers, key=lambda path: began.get(path, -1))])


def _note(began: dict[str, int], path: str, *_: object) -> None:
    began.setdefault(path, len(began))


def drawn_anew(values: Float[Tensor, "*shape"], name: str, seed: int) -> Float[Tensor, "*shape"]:
    """Values with the mean and the standard deviation of these, drawn on the CPU: the same on every device.

    Example:
        >>> drawn_anew(torch.ones(3), "scale", seed=0)
        tensor([1., 1., 1.])
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    std, mean = torch.std_mean(values.float(), correction=0)
    drawn = torch.randn(values.shape, generator=generator)
    return (drawn * std.cpu() + mean.cpu()).to(values)
