"""Transformer attribution (Chefer, Gur & Wolf, CVPR 2021, arXiv 2012.09838): the method ``lrp``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import first_layer
from vitcam.methods.relevance.attention import AttentionLayer, per_image, softmax_of
from vitcam.methods.relevance.chefer import CHEFER, safe_divide
from vitcam.methods.relevance.precise import at_least
from vitcam.methods.relevance.tracing import Trace, trace
from vitcam.recording import Need, Recording, find_logits

PRECISION = torch.float64
"""Of the forward pass. The residual rule R·a/(a + b) divides by values near 0 at which nothing less is enough."""


def lrp(recording: Recording, *, start_layer: int = 0) -> TokenMap:
    """Attention weighted by its relevance and its gradient, multiplied up over the layers.

    ::

        map = class-token row of  (I + Ā_L) · … · (I + Ā_start),   Ā_l = mean_h ReLU(∂y/∂A_l ⊙ R_A)

    where R_A is the relevance of the attention map, propagated from the target's logit by the rules of
    ``methods/relevance/chefer.py``, and ∂y/∂A the ordinary gradient. Sums within the rules are per image, never
    over the batch.

    The paper is about models with a class token. Deviation for others: the row is the mean over the tokens that
    the head reads, without the I of these tokens themselves, which would only lay a constant over the patches;
    where an attention pools the tokens (SigLIP), that attention's own row of Ā is carried down. In CaiT only the
    class-attention layers are seen.

    The method is ill-conditioned: where a skip connection and what is added to it nearly cancel, relevance is divided
    by their sum. In float32 the rounding of the forward pass alone can change a tenth of a map. So the pass runs in
    float64, whatever the model's precision, and so do the divisions; the products of the rules take the precision of
    the weights, of which fewer digits do no harm. The map is that of a float64 model to about 1e-6 of its maximum, on
    any number of threads, in any batch, on any processor. The model itself isn't touched. It costs 1.3 times what it
    would in float32, and the memory of one image's activations in float64.

    Its rules are of the family of layer-wise relevance propagation; see NOTICE on patents.

    Args:
        recording: any; the model is run once more, by the rules.
        start_layer: the lowest layer that takes part: 0 as AGCAM's authors compare it, 1 in Chefer's own scripts;
            a negative one counts from the last.

    Raises:
        MethodError: there is no such layer, or the model uses an operation for which there is no rule, or writes
            its attention out instead of calling torch's function, or the precision asked for isn't "fp32", or the
            score is a difference of classes', whose relevance adds up to nothing.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="lrp", start_layer=1).method
        'lrp(start_layer=1)'
    """
    if recording.layout.eager:
        raise MethodError(
            f"lrp isn't defined for {type(recording.model).__name__}, which writes its attention out: its rules are "
            "for torch.nn.functional.scaled_dot_product_attention. agcam, gae and other methods without rules work "
            "on it; attnlrp, if it has rules for what the model uses"
        )
    start_layer = first_layer("lrp", start_layer, len(recording.layout.callers))
    # One image at a time, for float64 takes memory. It costs no time. A function may expect its whole batch.
    step = len(recording.images) if recording.score.function else 1
    starts = range(0, len(recording.images), step)
    device = recording.images.device
    with recording.resumed() as model, torch.enable_grad(), torch.autocast(device.type, enabled=False):
        rows = []
        for start in starts:
            some = slice(start, start + step)
            with recording.only(start, step):
                rows.append(_rows(model, recording, some, start_layer))
    return torch.cat(rows).float()[..., recording.layout.grid.patches]


def _rows(
    model: nn.Module,
    recording: Recording,
    some: slice,
    start_layer: int,
) -> Float[Tensor, "batch targets tokens"]:
    layout, images = recording.layout, recording.images[some]
    is_read = [recording.pools or not call.pools for call in layout.layers[start_layer:]]
    head_rows = torch.ones(len(images), 1, 1, dtype=PRECISION, device=images.device)
    if not recording.pools:
        head_rows = recording.rows_read[some].to(PRECISION)
    places = [place for place, call in enumerate(layout.calls) if call.stream is not None]
    traced = trace(model, images, CHEFER, places[start_layer], PRECISION)
    traced = replace(traced, attentions=tuple(traced.attentions[place] for place in places))
    with at_least(PRECISION):  # a function may compute with tensors of its own
        scores = recording.scorer(some)(traced.output)
    _check_begins(scores, traced.output)
    rows = []
    for target in range(scores.shape[1]):
        layers = layer_relevances(traced, scores[:, target], start_layer)
        kept = [layer for layer, read in zip(layers, is_read, strict=True) if read]
        own = head_rows[:, target if head_rows.shape[1] > 1 else 0]
        rows.append(transformer_attribution(kept, own))
    return torch.stack(rows, dim=1)


def _check_begins(scores: Float[Tensor, "batch targets"], output: Any) -> None:
    """Refuses scores whose relevance adds up to nothing at the logits: it is shared out in proportion to sums."""
    logits = find_logits(output)
    if logits is None or not (logits.requires_grad and scores.requires_grad):
        return
    for score in scores.unbind(dim=1):
        (begun,) = torch.autograd.grad(score.sum(), logits, retain_graph=True, materialize_grads=True)
        total, size = begun.sum(dim=1).abs(), begun.abs().sum(dim=1)
        if not bool(((total < 1e-6 * size) & (size > 0)).any()):
            continue
        raise MethodError(
            "lrp isn't defined for a score that is a difference of classes' (versus=, a probability by softmax, or a "
            "function that takes logits away from others): the relevance that begins at the logits adds up to "
            "nothing, and what its rules make of that is rounding. attnlrp and the methods of gradients explain such "
            "scores"
        )


@dataclass(frozen=True)
class LayerRelevance:
    """What arrives at one attention layer.

    Attributes:
        layer: the attention layer.
        relevance: R_O, the relevance of its output.
        gradient: ∂y/∂O, the ordinary gradient of the score with respect to its output.
    """

    layer: AttentionLayer
    relevance: Float[Tensor, "batch heads queries dim"]
    gradient: Float[Tensor, "batch heads queries dim"]


def layer_relevances(
    traced: Trace, scores: Float[Tensor, " batch"], start_layer: int = 0
) -> list[LayerRelevance]:
    """Relevance and gradient at every attention layer from ``start_layer`` on, for one score per image.

    Args:
        traced: a trace by the rules ``CHEFER`` from ``start_layer`` on.
        scores: one score per image, computed from ``traced.output``.
        start_layer: the lowest layer of interest.

    Raises:
        MethodError: the model has no such layer, or no attention was seen.
    """
    number = len(traced.attentions)
    if not number:
        raise MethodError(
            "no attention was seen: the model never called torch's scaled_dot_product_attention. If it writes "
            "attention by hand, let it call that (timm: fused_attn=True; Hugging Face: attn_implementation='sdpa')"
        )
    if not 0 <= start_layer < number:
        raise MethodError(
            f"start_layer={start_layer}, but the model has {number} attention layers; "
            f"choose one from 0 to {number - 1}"
        )
    layers = traced.attentions[start_layer:]
    outputs = [layer.output for layer in layers]
    gradients = traced.gradient(scores, outputs)
    relevances = traced.relevance(scores, outputs)
    return [LayerRelevance(*parts) for parts in zip(layers, relevances, gradients, strict=True)]


def transformer_attribution(
    layers: Sequence[LayerRelevance], head_row: Float[Tensor, "batch queries"]
) -> Float[Tensor, "batch tokens"]:
    """Gradient-weighted relevance of the attention maps, multiplied up: the row of the class token.

    ::

        row of  (I + Ā_L) · … · (I + Ā_start) − I,   Ā_l = mean_h ReLU(∂y/∂A ⊙ R_A)

    with R_A = A⊙(s vᵀ)/2, s = safe_divide(R_O, O), and ∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩, so that both come from
    quantities of the size of O. It is computed as a row vector from the last layer down, one image's maps of
    one layer at a time, and only those rows of the maps that the row vector reaches.

    Args:
        layers: the attention layers from the lowest of interest to the last, as of :func:`layer_relevances`.
        head_row: how much the head reads from each token: 1 at the class token; with average pooling the
            same for each pooled token. Where the last layer pools the tokens with a query of its own
            (SigLIP), it is over that layer's queries, and the layer has no skip connection, hence no I.
            A layer whose queries are the first tokens only (CaiT's class attention) leaves the others as
            they are.

    Returns:
        One value ≥ 0 per token of the lowest layer, prefix tokens included.

    Raises:
        MethodError: the layers don't attend over the same tokens.

    Example:
        >>> traced = trace(model, images, CHEFER, start_layer=0)
        >>> layers = layer_relevances(traced, traced.output[:, 281])
        >>> class_token = torch.eye(197)[:1].expand(8, -1)
        >>> transformer_attribution(layers, class_token)[:, 1:].unflatten(1, (14, 14)).shape
        torch.Size([8, 14, 14])
    """
    start, row = head_row, torch.zeros_like(head_row)  # of the product − I, which would drown it in rounding
    for part in reversed(layers):
        batch, _, queries, _ = part.layer.query.shape
        keys = part.layer.key.shape[-2]
        if start.shape == (batch, keys):
            row = row + _row_times_map(part, (start + row)[:, :queries])
        elif start.shape == (batch, queries):
            row = _row_times_map(part, start + row)
            start = torch.zeros_like(row)
        else:
            raise MethodError(
                f"lrp isn't defined for this model: it has an attention layer of {batch}×{queries} queries and "
                f"{keys} keys where {start.shape[0]}×{start.shape[1]} tokens are expected; lrp needs layers that "
                "all attend over the same tokens"
            )
    return row


def _row_times_map(part: LayerRelevance, row: Tensor) -> Tensor:
    """row · mean_h ReLU(∂y/∂A ⊙ R_A) of one layer."""
    layer = part.layer
    reached = (row != 0).any(dim=0) | layer.causal
    share = safe_divide(part.relevance, layer.output.detach())
    result = row.new_zeros(*row.shape[:-1], layer.key.shape[-2])
    images = per_image(layer.query, layer.key, layer.value, layer.mask, share, part.gradient, row, result)
    for query, key, value, mask, s, g, weights, total in images:
        mask = None if mask is None else mask[:, reached]
        maps = softmax_of(query[:, reached] @ key.mT * layer.scale, mask, layer.causal)
        maps *= s[:, reached] @ value.mT
        maps *= g[:, reached] @ value.mT
        total += weights[reached] @ maps.relu_().mean(dim=0) / 2
    return result


METHOD = Method(
    compute=lrp,
    needs=lambda options: Need.NOTHING,
    kind="attention",
    summary="attention × its relevance × its gradient, multiplied up over the layers",
    passes="forward in float64 and two backward by rules",
    paper="arXiv 2012.09838",
    one_stream_only=True,
    computes_in="float64",
)
