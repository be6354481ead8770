"""Takes a map apart into the layers and heads that it is the sum of: AGCAM's, or tempercam's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.explaining.arguments import MoreInputs, unpacked
from vitcam.explaining.batches import AnyModel, for_each_batch
from vitcam.explaining.inputs import Images, count, listed
from vitcam.explaining.targets import Targets
from vitcam.heatmap import to_grid
from vitcam.inputs import PICTURE
from vitcam.methods import find_method
from vitcam.methods.agcam import agcam_by_head
from vitcam.methods.tempercam import tempercam_by_head
from vitcam.models.loaded import LoadedModel
from vitcam.recording import Need, Precision, Recording

_BY_HEAD: dict[str, Callable[..., Tensor]] = {"agcam": agcam_by_head, "tempercam": tempercam_by_head}


@dataclass(frozen=True)
class Decomposition:
    """The map of every head of every layer.

    Attributes:
        maps: (batch, targets, layers, heads, h, w) float32 on the patch grid; ≥ 0 by default, of ``agcam`` in units
            of the score. Their sum over layers and heads is the map of the method.
        targets: (batch, targets) class indices; -1 where a function gave the score.
        layers: the names of the attention layers, as in ``model.named_modules()``.
        region: (top, left, bottom, right), the part of the image that the patches cover, in pixels of the model's
            input, where that isn't the whole of it; for :func:`vitcam.heatmap.upsample`.

    Example:
        >>> d = vitcam.decompose(photo_model, photo, targets="cup")
        >>> d.maps.shape, d.layers[-1]
        (torch.Size([1, 1, 6, 6, 12, 12]), 'blocks.5.attn')
        >>> round(float(d.shares.sum()), 3)
        1.0
    """

    maps: Float[Tensor, "batch targets layers heads h w"]
    targets: Int[Tensor, "batch targets"]
    layers: tuple[str, ...]
    region: tuple[float, ...] | None = None

    @property
    def shares(self) -> Float[Tensor, "batch targets layers heads"]:
        """How much of the map each head of each layer makes up: sums of magnitudes, 1 in total per map."""
        sums = self.maps.abs().sum(dim=(-2, -1))
        return sums / sums.sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)

    def total(self, keep: Bool[Tensor, "layers heads"] | None = None) -> Float[Tensor, "batch targets h w"]:
        """The map that some of the heads add up to; all of them if ``keep`` is None, which is the method's.

        Args:
            keep: true for the heads that take part.

        Raises:
            MethodError: its shape isn't (layers, heads).

        Example:
            >>> d = vitcam.decompose(model, images)
            >>> last = torch.zeros(12, 12, dtype=torch.bool)
            >>> last[-1] = True
            >>> d.total(last).shape  # the map of the last layer alone
            torch.Size([8, 1, 14, 14])
        """
        if keep is None:
            return self.maps.sum(dim=(2, 3))
        if keep.shape != self.maps.shape[2:4]:
            raise MethodError(
                f"`keep` says for each of {self.maps.shape[2]} layers × {self.maps.shape[3]} heads whether it "
                f"takes part; got a tensor of shape {tuple(keep.shape)}"
            )
        return torch.einsum("btlhij,lh->btij", self.maps, keep.to(self.maps))


def decompose(
    model: AnyModel,
    images: Images,
    targets: Targets = None,
    method: str = "agcam",
    *,
    inputs: MoreInputs = None,
    precision: Precision = "fp32",
    device: str | torch.device | None = None,
) -> Decomposition:
    """Which layers and heads a map comes from.

    Takes as long as ``explain``, but all images go through the model at once, and for each of their targets
    layers × heads maps are kept.

    Args:
        model, images, targets, inputs, precision, device: as for :func:`vitcam.explain`.
        method: "agcam", or "tempercam", which may have options in brackets. Layers that take no part have maps of 0.

    Raises:
        MethodError: it is another method or has other options; the model is no plain ViT, or its layers have
            different numbers of heads.
        ImageError, TargetError, ModelError: as for :func:`vitcam.explain`.

    Example:
        >>> vitcam.decompose(model, images).maps.shape
        torch.Size([8, 1, 12, 12, 14, 14])
    """
    by_head = _by_head(method)
    if not isinstance(images, Mapping):
        kind = model.preprocessing.kind if isinstance(model, LoadedModel) else PICTURE
        images = listed(images, kind)  # once: what is in a folder may change
    (decomposition,) = for_each_batch(
        partial(_decomposition, by_head),
        model,
        images,
        targets,
        Need.SKIP_GRADIENT,
        batch_size=count(unpacked(images)[0]),
        device=device,
        precision=precision,
        inputs=inputs,
    )
    return decomposition


def _by_head(method: str) -> Callable[[Recording], Tensor]:
    """From a recording to a method's map of every head."""
    found, options = find_method(method)
    changed = {name: value for name, value in options.items() if value != found.options[name]}
    compute = _BY_HEAD.get(found.name)
    allowed = () if compute is None else inspect.signature(compute).parameters
    if compute is None or not changed.keys() <= set(allowed):
        raise MethodError(
            f"{method!r} can't be taken apart. What can: agcam, and tempercam (options: power, positive, layers). "
            "Which layers and heads take part can be said afterwards, by `total(keep)`"
        )
    return partial(compute, **changed)


def _decomposition(by_head: Callable[[Recording], Tensor], recording: Recording, *_: object) -> Decomposition:
    return Decomposition(
        maps=to_grid(by_head(recording), recording.layout.grid),
        targets=recording.targets,
        layers=tuple(layer.name for layer in recording.layers),
        region=recording.layout.grid.region,
    )
