"""Token dropping: a perturbation test that leaves patches out instead of painting them over."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam import heatmap
from vitcam.errors import ModelError
from vitcam.evaluation.metrics.curves import Curves
from vitcam.evaluation.metrics.errors import MetricError
from vitcam.evaluation.metrics.maps import pixel_ranks
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, class_probabilities, of_targets
from vitcam.recording import Precision
from vitcam.recording.blocks import block_input
from vitcam.types import PatchGrid


def token_dropping_curves(
    model: nn.Module,
    block: nn.Module,
    grid: PatchGrid,
    images: Float[Tensor, "batch 3 height width"],
    heatmaps: Float[Tensor, "batch rows columns"],
    targets: Int[Tensor, " batch"],
    steps: int = 10,
    *,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Curves:
    """MoRF and LeRF curves for which the k = ⌊patches·f⌋ most or least important patches are left out.

    Their tokens, which carry their positions, are removed in front of the first transformer block. No grey
    squares that the model has never seen; and the more is left out, the faster. At the last point only the
    prefix tokens (class token, registers) are left. Equal patches go in reading order.

    For models with a class token whose attention takes any number of tokens: not for rotary or relative
    position tables of the whole image.

    Source: Jain et al. 2022, "Missingness Bias in Model Debugging", arXiv 2204.08945.

    Args:
        model: returns logits; left exactly as it was.
        block: its first transformer block.
        grid: where the patch tokens stand in the sequence.
        images: normalised, on the model's device.
        heatmaps: on the patch grid.
        targets: the class whose probability is followed.
        steps: how finely 0..1 is divided.
        precision: of the forward pass; "bf16" and "fp16" by autocast. Probabilities are fp32.
        batch_size: images in one forward pass.

    Raises:
        MetricError: the heatmaps aren't on this grid.
        ImageError: a heatmap isn't finite.
        ModelError: there is no prefix token, or the model doesn't run with fewer tokens.
        TargetError: a target isn't one of the model's classes.

    Example:
        >>> grid = PatchGrid(height=14, width=14, prefix=1)
        >>> curves = token_dropping_curves(model, model.blocks[0], grid, images, heatmaps, labels)
        >>> curves.abpc.mean()
        tensor(0.19, dtype=torch.float64)
    """
    _check(grid, heatmaps)
    ranks = pixel_ranks(heatmap.normalize(heatmaps)).to(images.device)
    counts = [grid.tokens * step // steps for step in range(steps + 1)]

    def probabilities(dropped: Bool[Tensor, "batch patches"]) -> Float[Tensor, " batch"]:
        return of_targets(_without(model, block, grid, images, dropped, precision, batch_size), targets)

    morf = [probabilities(ranks < count) for count in counts]
    lerf = [probabilities(ranks >= grid.tokens - count) for count in counts[1:-1]]
    return Curves(
        torch.linspace(0, 1, steps + 1, device=images.device),
        torch.stack(morf, dim=1),
        torch.stack([morf[0], *lerf, morf[-1]], dim=1),
    )


def _without(
    model: nn.Module,
    block: nn.Module,
    grid: PatchGrid,
    images: Float[Tensor, "batch 3 height width"],
    dropped: Bool[Tensor, "batch patches"],
    precision: Precision,
    batch_size: int,
) -> Float[Tensor, "batch classes"]:
    """Class probabilities with equally many patches dropped from every image."""
    prefix = dropped.new_zeros(len(dropped), grid.prefix)
    kept = (~torch.cat([prefix, dropped], dim=1)).nonzero()[:, 1].view(len(dropped), -1)
    parts = zip(images.split(batch_size), kept.split(batch_size), strict=True)
    return torch.cat([_of_kept(model, block, grid, part, index, precision) for part, index in parts])


def _of_kept(
    model: nn.Module,
    block: nn.Module,
    grid: PatchGrid,
    images: Float[Tensor, "batch 3 height width"],
    kept: Int[Tensor, "batch kept"],
    precision: Precision,
) -> Float[Tensor, "batch classes"]:
    met = []

    def keep(tokens: Float[Tensor, "batch tokens features"]) -> Float[Tensor, "batch kept channels"]:
        met.append(tokens.shape)
        return tokens.gather(1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))

    batch, every = len(images), grid.prefix + grid.tokens
    with block_input(block, "", batch, every, keep):
        try:
            probabilities = class_probabilities(
                model, lambda items: images, batch, precision=precision, batch_size=batch
            )
        except RuntimeError as error:
            raise ModelError(
                f"the model failed with {kept.shape[1]} of its {every} tokens: {error}\nIf it needs the "
                "whole grid of patches (rotary embeddings, relative positions), use road_curves instead"
            ) from error
    if not met:
        raise ModelError(
            f"no tensor of {batch}×{every} tokens ({grid}) came to the {type(block).__name__} given as the "
            "first block: give the first transformer block, and the grid of this image size"
        )
    return probabilities


def _check(grid: PatchGrid, heatmaps: Float[Tensor, "batch rows columns"]) -> None:
    if not grid.prefix:
        raise ModelError(
            "expected a model with a class token, but no token stands in front of its patches, so that "
            "nothing is left when all are dropped: use road_curves"
        )
    if heatmaps.shape[1:] != (grid.height, grid.width):
        raise MetricError(
            f"expected heatmaps on the patch grid of {grid.height}×{grid.width}, "
            f"got {heatmaps.shape[1]}×{heatmaps.shape[2]}: give explanation.heatmaps, not upsampled ones"
        )
