"""ViT-ReciproCAM (Byun & Lee 2023, arXiv 2310.02588): the score from one patch at a time, in the last block."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError, ModelError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.passes import COPIES, Passes, many_passes
from vitcam.recording import Need, Recording, beginning, resumed_end
from vitcam.types import PatchGrid


def reciprocam(
    recording: Recording, *, block: int = -1, gaussian: bool = True, output: str = "logit"
) -> TokenMap:
    """The score if the last block is given the tokens of no patch, and those around one patch alone.

    ::

        map_j = y(tokens that go into the block ⊙ G_j)

    with G_j a 3×3 Gaussian around patch j, (1 2 1; 2 4 2; 1 2 1)/16, cut off at the border, and 1 for tokens of no
    patch, such as the class token. The norm in front of the block's attention doesn't read the masked tokens, since
    it would scale them up again: what it gave is masked too, as in openvino_xai. No gradient, nothing below the block
    is computed again, and no samples: exact.

    Args:
        recording: any; the end of its model is run again.
        block: of the model's blocks.
        gaussian: False keeps patch j alone.
        output: what of a class is followed, "logit" or "probability".

    Raises:
        MethodError: there is no such block, or the model can't be resumed at it.

    Returns:
        (batch, targets, patches). It takes a forward pass, and for each patch the part behind the block's input.

    Example:
        >>> vitcam.explain(model, images[:1], method="reciprocam").heatmaps.shape
        torch.Size([1, 1, 14, 14])
    """
    layout = recording.layout
    count = len(layout.blocks)
    if count and not -count <= block < count:
        raise MethodError(f"reciprocam has no block={block}; this model's blocks are 0 to {count - 1}")
    weights = around_each_patch(layout.grid) if gaussian else torch.eye(layout.grid.tokens)
    masks = torch.ones(len(weights) + 1, layout.tokens)  # the first changes nothing
    masks[1:, layout.grid.patches] = weights
    with many_passes(recording, output) as passes:
        maps = [
            _map(passes, index, block, masks.to(recording.images)) for index in range(len(recording.images))
        ]
    return torch.stack(maps)


def _map(passes: Passes, index: int, block: int, masks: Float[Tensor, "copies tokens"]) -> Tensor:
    recording, model = passes.recording, passes.model
    image = recording.images[index : index + 1]
    with recording.only(index):
        try:
            begun = beginning(model, image, recording.layout, block)
        except ModelError as error:
            raise MethodError(f"reciprocam isn't defined for {type(model).__name__}: {error}") from error
        scores = []
        for some in masks.split(COPIES):

            def masked(tokens: Tensor, some: Tensor = some) -> Tensor:
                return tokens * some[:, :, None].to(tokens)

            ended = resumed_end(model, image, recording.layout, begun, len(some), masked)
            scores.append(passes.scores_of(ended, index))
        whole, by_patch = passes.scores_of(begun.output, index), torch.cat(scores)
    share = 1e-3 if recording.precision == "fp32" else 5e-2
    if not torch.allclose(by_patch[:1], whole, rtol=share, atol=share * float(by_patch.std())):
        raise MethodError(
            f"reciprocam isn't defined for {type(model).__name__}: resumed at {begun.block} with unchanged tokens it "
            "gives another score, so that it reads more than what goes into that block"
        )
    return by_patch[1:].T


def around_each_patch(grid: PatchGrid) -> Float[Tensor, "patches patches"]:
    """A Gaussian of 3×3 patches around each patch, cut off at the border.

    Example:
        >>> around_each_patch(PatchGrid(1, 3, prefix=1)).tolist()
        [[0.25, 0.125, 0.0], [0.125, 0.25, 0.125], [0.0, 0.125, 0.25]]
    """
    return reduce(torch.kron, (_near(length) for length in grid.shape))


def _near(length: int) -> Float[Tensor, "length length"]:
    distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    return torch.where(distance == 0, 0.5, torch.where(distance == 1, 0.25, 0.0))


METHOD = Method(
    compute=reciprocam,
    needs=lambda options: Need.NOTHING,
    kind="masked passes",
    summary="the score from the tokens around one patch at a time, in the last block",
    passes="forward, and the last block for each patch",
    paper="arXiv 2310.02588",
    one_stream_only=True,
    many_passes=True,
)
