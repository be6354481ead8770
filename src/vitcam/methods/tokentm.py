"""TokenTM (Wu et al., CVPR 2024, arXiv 2403.14552): attention, weighted by how far each token is transformed."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError, ModelError
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.rows import TargetRows, read_rows
from vitcam.recording import Attention, Need, Recording, Step, each_step

PerToken = Float[Tensor, "batch tokens"]


def tokentm(recording: Recording, *, skip: bool = False, rules: str = "plain") -> TokenMap:
    """Attention times its positive gradient, carried down, each token weighted by how it is transformed.

    ::

        w(x̃, x)_j = ‖x̃_j‖ / ‖x_j‖ · softmax_j( cos(x̃_j, x_j) )
        U_l = (I + diag w_ffn) · (I + (mean_h A_l · diag w_attn) ⊙ mean_h ReLU(∂y/∂A_l))
        map = class-token row of  U_L · … · U_1 · diag ‖x_0‖

    x are the tokens in front of a layer's attention, or of its MLP, and x̃ what these make of each of them: its value
    behind the projection, without the bias; and what the MLP adds to it. x_0 enters the first block.

    The authors' code wasn't at hand. A public re-implementation (NightMachinery/decompv-libragrad-v1) takes for x̃ the
    tokens behind attention and behind the MLP, each with the skip connection in it: ``skip=True`` equals it.

    Models without a class token: the mean over the rows that the head reads, less the part in which no attention has
    a share, which would only lay the tokens' lengths over the map. An attention that pools the tokens for the head
    has its own row, and no weights.

    Args:
        recording: with ordinary gradients; its model is run again.
        skip: whether transformed tokens have the skip connection in them.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: the model's blocks aren't attention and then a token-wise layer, each added to its tokens, or
            there is no rule for a function that the model uses.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="tokentm").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    check_rules("tokentm", rules, recording)
    assert recording.gradients is not None
    try:
        with recording.resumed() as model:
            weights = each_step(model, recording.images, recording.layout, _skipping if skip else _without)
    except ModelError as error:
        raise MethodError(f"tokentm isn't defined for {type(recording.model).__name__}: {error}") from error
    start = recording.head_rows.expand(*recording.targets.shape, -1)
    row = torch.zeros_like(start)  # of what attention has a share in
    for layer, gradient in list(zip(recording.layers, recording.gradients, strict=True))[::-1]:
        if layer.pooling:
            start, row = torch.zeros_like(start), _carried(layer, gradient, read_rows(recording, layer))
            continue
        at = weights.pop()
        start, row = start * (1 + at.mlp[:, None]), row * (1 + at.mlp[:, None])
        row = row + _carried(layer, gradient, start + row) * at.attention[:, None]
        length = at.length
    return (row * length[:, None])[..., recording.layout.grid.patches]


class Weights(NamedTuple):
    """Of the tokens of one block: what they are weighted with, and their lengths in front of it."""

    attention: PerToken
    mlp: PerToken
    length: PerToken


def _without(step: Step) -> Weights:
    return Weights(
        transformation(step.before, step.passed),
        transformation(step.between, step.after - step.between),
        step.before.norm(dim=-1),
    )


def _skipping(step: Step) -> Weights:
    return Weights(
        transformation(step.before, step.between),
        transformation(step.between, step.after),
        step.before.norm(dim=-1),
    )


def transformation(
    tokens: Float[Tensor, "batch tokens channels"], transformed: Float[Tensor, "batch tokens channels"]
) -> PerToken:
    """The ratio of lengths, times the softmax over tokens of the cosine.

    Example:
        >>> tokens = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
        >>> transformation(tokens, 2 * tokens)
        tensor([[1., 1.]])
    """
    ratio: Tensor = transformed.norm(dim=-1) / tokens.norm(dim=-1).clamp_min(1e-8)
    return ratio * F.cosine_similarity(transformed, tokens, dim=-1).softmax(dim=-1)


def _carried(
    layer: Attention, gradient: Float[Tensor, "batch targets heads queries dim"], row: TargetRows
) -> TargetRows:
    """row · (mean_h A ⊙ mean_h ReLU(∂y/∂A)) of one layer, in chunks of query rows."""
    carried = row.new_zeros(*row.shape[:2], layer.keys)
    for rows in layer.row_chunks(copies=2):
        maps = layer.probabilities(rows).mean(dim=1)
        for target in range(row.shape[1]):
            positive = layer.map_gradient(gradient[:, target, :, rows]).relu_().mean(dim=1)
            carried[:, target] += (row[:, target, None, rows] @ (maps * positive)).squeeze(1)
    return carried


METHOD = Method(
    compute=tokentm,
    needs=lambda options: Need.GRADIENT,
    kind="attention",
    summary="attention × its positive gradient, weighted by how far each token is transformed, multiplied up",
    passes="forward, backward, and a forward",
    paper="arXiv 2403.14552",
    by_rules=True,
    one_stream_only=True,
)
