"""MaskCLIP (Zhou et al., ECCV 2022, arXiv 2112.01071): what the head says of each patch by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from vitcam.errors import MethodError, ModelError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.passes import COPIES, Passes, many_passes
from vitcam.recording import Need, Recording, last_tokens, read_by_head


def maskclip(recording: Recording) -> TokenMap:
    """The score of each patch's own token, if in the last layer each token attends to itself alone.

    ::

        map_j = y( head reads x̃_j ),   x̃ = last block with A = I

    For a CLIP model that is how similar a prompt is to the patch's value in the last layer. What follows attention
    in the last block, and the head, are applied to each patch; so it is in the authors' code. Any model can be asked
    the same: what it says if its class token, or whatever its head reads, were the token of one patch.

    Deviations: the authors smooth maps by the similarity of keys and leave prompts out that no patch is likely to
    show, as post-processing of segmentations; here a map is of one class. Where an attention pools the tokens for
    the head, it is the last layer: the blocks are as they are, and it is given one patch's token.

    Args:
        recording: any; its model is run again.

    Raises:
        MethodError: the head reads more than the tokens that leave the last block, or they aren't known.

    Returns:
        (batch, targets, patches). It takes a forward pass, and the head for each patch.

    Example:
        >>> vitcam.explain(model, images[:1], method="maskclip").heatmaps.shape
        torch.Size([1, 1, 14, 14])
    """
    with many_passes(recording) as passes:
        try:
            return torch.stack([_map(passes, index) for index in range(len(recording.images))])
        except ModelError as error:
            raise MethodError(
                f"maskclip isn't defined for {type(recording.model).__name__}: {error}"
            ) from error


def _map(passes: Passes, index: int) -> Tensor:
    recording, model, layout = passes.recording, passes.model, passes.recording.layout
    image = recording.images[index : index + 1]
    with recording.only(index):
        left = last_tokens(model, image, layout, values=False)
        again = read_by_head(model, image, layout, left, left.tokens)
        _check_read(passes.scores_of(left.output, index), passes.scores_of(again, index), recording)
        tokens = left.tokens if recording.pools else last_tokens(model, image, layout, values=True).tokens
        scores = [
            passes.scores_of(
                read_by_head(model, image, layout, left, some[:, None].expand(-1, layout.tokens, -1)),
                index,
            )
            for some in tokens[0, layout.grid.patches].split(COPIES if layout.together else 1)
        ]
    return torch.cat(scores).T


def _check_read(once: Tensor, again: Tensor, recording: Recording) -> None:
    share = 1e-3 if recording.precision == "fp32" else 5e-2
    if not torch.allclose(once, again, rtol=share, atol=share * float(once.abs().max())):
        raise ModelError("its head reads more than the tokens that leave its last block")


METHOD = Method(
    compute=maskclip,
    needs=lambda options: Need.NOTHING,
    kind="masked passes",
    summary="what the head says of each patch's value in the last layer, by itself",
    passes="two forwards, and the head for each patch",
    paper="arXiv 2112.01071",
    one_stream_only=True,
)
