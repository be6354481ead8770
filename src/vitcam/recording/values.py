"""A pass in whose last layer each token attends to itself alone, and what the head says of single tokens."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import AttentionCall, with_head_dimension
from vitcam.recording.blocks import recorded_blocks
from vitcam.recording.interception import intercept
from vitcam.recording.layout import Image, Layout
from vitcam.recording.onednn import linear_layer
from vitcam.recording.passes import Sites
from vitcam.recording.preservation import replaced_forward

Tokens = Float[Tensor, "copies tokens features"]


@dataclass(frozen=True)
class Leaving:
    """What left a model's last block.

    Attributes:
        tokens: (batch, tokens, channels).
        returned: what the block returned, which holds them.
        output: the model's.
    """

    tokens: Tokens
    returned: Any
    output: Any


def last_tokens(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], layout: Layout, *, values: bool
) -> Leaving:
    """The tokens that leave a model's last block.

    Args:
        model: in the state in which it is recorded.
        images: what it runs on.
        layout: its structure.
        values: whether each token attends to itself alone in that block, so that attention gives its value.

    Raises:
        ModelError: its blocks weren't recognised, or the last doesn't attend among all tokens, and return them.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> last_tokens(model, images, layout, values=True).tokens.shape
        torch.Size([8, 197, 48])
    """
    if layout.obstacle or not layout.blocks:
        raise ModelError(layout.obstacle or "its transformer blocks weren't recognised")
    name, sites = layout.blocks[-1], Sites(model, layout)
    inside = [site for site in layout.layers if f"{site.name}.".startswith(f"{name}.")]
    if len(inside) != 1 or inside[0].pools or inside[0].queries != inside[0].keys:
        raise ModelError("its last block doesn't make one attention call among all tokens")

    def attend(call: AttentionCall) -> Tensor:
        if sites.next(call) is not inside[0] or not values:
            return call.run()
        value = with_head_dimension(call, len(images)).value
        return value.clone().reshape(*call.query.shape[:-1], value.shape[-1])

    with (
        torch.no_grad(),
        recorded_blocks(model, (name,)) as returned,
        intercept(attend, linear=linear_layer, eager=layout.eager),
    ):
        output = model(images)
    whole = returned[name]
    tokens = whole[0] if isinstance(whole, tuple | list) else whole
    tokens = tokens.transpose(0, 1) if layout.tokens_first and tokens.dim() == 3 else tokens
    if tokens.shape[:2] != (len(images), layout.tokens):
        raise ModelError(
            f"its last block returns {tuple(tokens.shape)}, and not the {layout.tokens} tokens of each image"
        )
    return Leaving(tokens, whole, output)


def read_by_head(model: nn.Module, image: Image, layout: Layout, left: Leaving, tokens: Tokens) -> Any:
    """The model's output if these tokens left its last block, one row of them for each copy; no block does any work.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> layout = record(model, images, score, Need.NOTHING).layout
        >>> left = last_tokens(model, images[:1], layout, values=False)
        >>> read_by_head(model, images[:1], layout, left, left.tokens).allclose(left.output, atol=1e-4)
        True
    """
    given = (tokens.transpose(0, 1) if layout.tokens_first else tokens).contiguous()
    whole = given if isinstance(left.returned, Tensor) else type(left.returned)((given, *left.returned[1:]))
    with torch.no_grad(), contextlib.ExitStack() as undo:
        for name in layout.blocks:
            undo.enter_context(replaced_forward(model.get_submodule(name), lambda *args, **kwargs: whole))
        return model(image.expand(len(tokens), -1, -1, -1))
