"""Makes sure that tokens lie where they are said to: changes corners of an image, looks which tokens answer."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.blocks import Tokens, block_input
from vitcam.types import PatchGrid


def checked_grid(
    model: nn.Module,
    image: Float[Tensor, "1 channels height width"],
    block: str,
    tokens: int,
    grid: PatchGrid,
) -> PatchGrid:
    """The grid, confirmed; its prefix corrected where some of the tokens left over stand behind the patches.

    Where tokens mix before the first block, or what goes into it isn't (batch, tokens, channels), nothing can be
    said, and the grid is as it was.

    Args:
        model, image: the model and any image.
        block: the name of the first transformer block.
        tokens: how many tokens go into it.
        grid: how they are said to lie.

    Raises:
        ModelError: other tokens answer, or the tokens are others every time.
    """
    corners = {
        "top-left": (0, 0),
        "top-right": (0, grid.width - 1),
        "bottom-right": (grid.height - 1, grid.width - 1),
    }
    variants = [image, image, *(_changed(image, grid, *place) for place in corners.values())]
    found = _first_block_input(model, torch.cat(variants), block, tokens)
    if found is None:
        return grid
    original, again, *changed = found
    if not torch.allclose(original, again, rtol=0, atol=1e-3 * float(original.abs().max())):
        raise ModelError(
            f"{type(model).__name__} makes other tokens of the same image each time, so that no map would fit the "
            "image. Does it mask patches at random (Hugging Face's ViTMAE does, also when it evaluates)? Explain a "
            "model without that, such as ViTForImageClassification with the same weights"
        )
    for (corner, (row, column)), variant in zip(corners.items(), changed, strict=True):
        change = (variant - original).abs().amax(dim=-1)
        answering = (change > 1e-3 * change.max()).nonzero().flatten().tolist()
        if not answering or len(answering) == tokens:
            return grid
        expected = grid.prefix + row * grid.width + column
        if expected in answering:
            continue
        if corner == "top-left" and answering[0] + grid.tokens <= tokens:
            grid = replace(grid, prefix=answering[0])
            continue
        raise ModelError(
            f"found {grid}, but when the {corner} patch of the image changes, it is token {answering[0]} that "
            f"changes, not token {expected}. Pass prefix=N and grid=(rows, columns), if the patches lie row by "
            "row; other orders can't be explained"
        )
    return grid


def _changed(image: Tensor, grid: PatchGrid, row: int, column: int) -> Tensor:
    """The image with one patch turned into its negative."""
    height, width = image.shape[-2] / grid.height, image.shape[-1] / grid.width
    changed = image.clone()
    patch = changed[
        ..., int(row * height) : int((row + 1) * height), int(column * width) : int((column + 1) * width)
    ]
    patch.copy_(1.0 - patch)
    return changed


def _first_block_input(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], block: str, tokens: int
) -> Tokens | None:
    found: list[Tokens] = []

    class FirstBlockReachedError(Exception):
        """Ends the forward pass at the first block."""

    def stop(value: Tokens) -> Tokens:
        found.append(value)
        raise FirstBlockReachedError

    try:
        with torch.no_grad(), block_input(model, block, len(images), tokens, stop):
            model(images)
    except FirstBlockReachedError:
        return found[0]
    return None
