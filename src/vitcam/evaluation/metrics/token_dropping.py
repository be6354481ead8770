"""Token dropping: a perturbation test that leaves patches out instead of painting them over."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitcam import heatmap
from vitcam.errors import MetricError, ModelError
from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.measure import Numbers
from vitcam.evaluation.metrics.maps import images_of, pixel_ranks
from vitcam.evaluation.metrics.perturbation import Curves, columns_of
from vitcam.evaluation.metrics.probabilities import BATCH_SIZE, class_probabilities, of_targets
from vitcam.explaining import score_of
from vitcam.recording import Overrides, Precision, facts_of, kept_tokens, preserved
from vitcam.types import PatchGrid, sides


def token_dropping_curves(
    model: nn.Module,
    block: nn.Module,
    grid: PatchGrid,
    images: Float[Tensor, "images ..."],
    heatmaps: Float[Tensor, heatmaps * grid],
    targets: Int[Tensor, " heatmaps"],
    steps: int = 10,
    *,
    multi_label: bool = False,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
    tokens: int | None = None,
) -> Curves:
    """MoRF and LeRF curves for which the k = ⌊patches·f⌋ most or least important patches are left out.

    Their tokens, which carry their positions, are removed in front of the first transformer block. No grey
    squares that the model has never seen; and the more is left out, the faster. At the last point only the
    tokens of no patch (class token, registers) are left. Equal patches go in reading order.

    For models with a class token whose attention takes any number of tokens: not for rotary or relative
    position tables of the whole image.

    Source: Jain et al. 2022, "Missingness Bias in Model Debugging", arXiv 2204.08945.

    Args:
        block: the model's first transformer block.
        grid: where the patch tokens stand in the sequence.
        tokens: how many tokens there are; None: no token stands behind the patches.
        batch_size: images in one forward pass; up to four times as many where few of their tokens are left.
        model, images, heatmaps, targets, steps, multi_label, precision: as for ``perturbation_curves``.

    Raises:
        MetricError: the heatmaps aren't on this grid, or as from ``perturbation_curves``.
        ModelError: every token is a patch's, the model doesn't run with fewer tokens, or returns no logits.
        ImageError, TargetError: as from ``perturbation_curves``.

    Example:
        >>> grid = PatchGrid(height=14, width=14, prefix=1)
        >>> e = vitcam.explain(model, images)
        >>> given = images, e.heatmaps[:, 0], e.targets[:, 0]
        >>> token_dropping_curves(model, model.blocks[0], grid, *given).abpc.shape
        torch.Size([8])
    """
    every = _check(grid, heatmaps, tokens)
    image_of_map = images_of(images, heatmaps, targets)
    ranks = pixel_ranks(heatmap.normalize(heatmaps, len(grid.shape))).to(images.device)
    sizes = [grid.tokens * step // steps for step in range(1, steps)]

    def probabilities(
        entries: Sequence[int], dropped: Bool[Tensor, "entries patches"]
    ) -> Float[Tensor, "entries classes"]:
        """With equally many patches dropped from every image."""
        kept = dropped.new_ones(len(dropped), every)
        kept[:, grid.patches] = ~dropped
        kept = kept.nonzero()[:, 1].view(len(dropped), -1)
        at_once = batch_size * min(4, every // kept.shape[1])
        parts = zip(torch.tensor(entries).split(at_once), kept.split(at_once), strict=True)
        return torch.cat(
            [
                _of_kept(model, block, every, images[part], index, multi_label, precision)
                for part, index in parts
            ]
        )

    def of_images(dropped: bool) -> Float[Tensor, "heatmaps 2"]:
        whole = torch.full((len(images), grid.tokens), dropped, device=images.device)
        return of_targets(probabilities(range(len(images)), whole)[image_of_map], targets)[:, None].expand(
            -1, 2
        )

    def of_size(size: int) -> Float[Tensor, "heatmaps 2"]:
        both = probabilities(
            [*image_of_map, *image_of_map], torch.cat([ranks < size, ranks >= grid.tokens - size])
        )
        return of_targets(both.unflatten(0, (2, -1)).transpose(0, 1), targets)

    points = [of_images(False), *map(of_size, sizes), of_images(True)]
    morf, lerf = torch.stack(points, dim=2).unbind(1)
    return Curves(torch.linspace(0, 1, steps + 1), morf, lerf)


def _of_kept(
    model: nn.Module,
    block: nn.Module,
    every: int,
    images: Float[Tensor, "batch ..."],
    kept: Int[Tensor, "batch kept"],
    multi_label: bool,
    precision: Precision,
) -> Float[Tensor, "batch classes"]:
    batch = len(images)
    with kept_tokens(block, "", kept, every, instead="use road_curves instead"):
        return class_probabilities(
            model,
            lambda items: images,
            batch,
            multi_label=multi_label,
            precision=precision,
            batch_size=batch,
        )


def _check(grid: PatchGrid, heatmaps: Float[Tensor, heatmaps * grid], tokens: int | None) -> int:
    """How many tokens there are, if there are some besides the patches."""
    last = max(grid.order, default=grid.prefix + grid.tokens - 1)
    every = last + 1 if tokens is None else tokens
    if every <= grid.tokens:
        raise ModelError(
            "expected a model with a class token, but all its tokens are patches, so that nothing is left when all "
            "are dropped: use road_curves"
        )
    if every <= last:
        raise ModelError(
            f"expected tokens for all patches of the grid, the last of which is token {last}, got tokens={every}"
        )
    if heatmaps.shape[1:] != grid.shape:
        raise MetricError(
            f"expected heatmaps on the patch grid of {sides(grid.shape)}, "
            f"got {sides(heatmaps.shape[1:])}: give explanation.heatmaps, not upsampled ones"
        )
    return every


def measured(case: PerturbationCase) -> Numbers:
    """The columns of ``token-dropping``; nothing where it isn't defined.

    That is for what is no plain ViT, has no class token, or takes all tokens only.
    """
    model, images = case.model, case.images
    with preserved(model):
        layout = facts_of(model, images, score_of(None, len(images), None), Overrides()).layout
    if not layout.blocks or layout.obstacle or len(layout.streams) > 1 or not layout.together:
        return {}
    block = model.get_submodule(layout.blocks[0])
    try:
        curves = token_dropping_curves(
            **case.by_patch.given,
            block=block,
            grid=layout.grid,
            steps=case.steps,
            tokens=layout.tokens,
        )
    except ModelError:
        return {}
    return columns_of(curves, "token_")
