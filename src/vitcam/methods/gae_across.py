"""Generic Attention Explainability between several sequences of tokens (Chefer, Gur & Wolf, arXiv 2103.15679)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.method import TokenMap
from vitcam.recording import Across, Attention, Recording

Relevance = Float[Tensor, "batch targets _queries _keys"]


def gae_across(recording: Recording) -> TokenMap:
    """The relevance of an image's tokens to those that the score reads: a detector's query, a text's first token.

    The paper's rules for encoders and decoders, in the order of the attention layers, from R^ss = I and R^sk = 0::

        Ā = mean_h ReLU(∂y/∂A ⊙ A)
        self-attention of s:          R^ss ← R^ss + Ā R^ss,    R^sk ← R^sk + Ā R^sk             (6, 7)
        queries of s, keys of k:      R^sk ← R^sk + R̄^ssᵀ Ā R̄^kk,    R^ss ← R^ss + Ā R^ks       (10, 11)
        R̄ = I + (R − I) with each row divided by its sum                                        (8, 9)

    and the map is the row of R^sk of the token that is read, k being the image.

    Deviations: a row of R − I that is zero stays zero, where the authors' code divides by its sum and leaves out
    the whole layer. Where several tokens are read it is the mean of their rows.

    Raises:
        MethodError: the score reads several sequences that attention goes between, for which the paper has no rule.
    """
    across = recording.across
    read = [number for number, rows in enumerate(across.rows) if bool(rows.any())]
    if len(read) > 1 and any(call.queries != call.keys for call in across.calls):
        raise MethodError(
            f"gae isn't defined for what is explained of {type(recording.model).__name__}: the score reads tokens of "
            f"{len(read)} sequences that attend to each other. Explain it by occlusion, rise or captum:…"
        )
    return _carried(across, 0)[..., recording.layout.grid.patches]


def gae_of_text(recording: Recording) -> Float[Tensor, "batch targets length"] | None:
    """The relevance of a text's tokens by the same rules, from the same tokens that the score reads.

    Of a dual encoder (CLIP) it is that of the text's own tower, of a model of both together that of the text's tokens
    beside the image's. None if there is no text.
    """
    text = recording.text
    return None if text is None else _carried(recording.across, text.sequence)[..., list(text.tokens)]


def relevances(across: Across) -> dict[tuple[int, int], Relevance]:
    """R^sk by (s, k), where there is any; of R^ss it is R − I, since the I would drown it in rounding."""
    found: dict[tuple[int, int], Relevance] = {}
    for call, layer, gradient in zip(across.calls, across.layers, across.gradients, strict=True):
        asking, read = call.queries, call.keys
        attention = positive_attention(layer, gradient)
        if asking == read:
            added = {(s, k): attention @ of for (s, k), of in found.items() if s == asking}
            added[asking, asking] = added.get((asking, asking), 0) + attention
        else:
            crossed = _with_itself(found.get((asking, asking)), attention, transposed=True)
            added = {(asking, read): _with_itself(found.get((read, read)), crossed)}
            if (read, asking) in found:
                added[asking, asking] = attention @ found[read, asking]
        for pair, more in added.items():
            found[pair] = found[pair] + more if pair in found else more
    return found


def _carried(across: Across, read: int) -> Float[Tensor, "batch targets _tokens"]:
    """The rows of R^sk (of R^kk − I) of the tokens s that the score reads, their mean per sequence."""
    total = torch.zeros_like(across.rows[read])
    for (asking, of), relevance in relevances(across).items():
        if of == read:
            total = total + (across.rows[asking][..., None, :] @ relevance).squeeze(-2)
    return total


def positive_attention(
    layer: Attention, gradient: Float[Tensor, "batch targets heads rows dim"]
) -> Relevance:
    """Ā = mean_h ReLU(∂y/∂A ⊙ A) of every target, in chunks of query rows."""
    parts = []
    for rows in layer.row_chunks(copies=2):
        maps = layer.probabilities(rows)
        weighted = [
            layer.map_gradient(each[:, :, rows]).relu_().mul_(maps) for each in gradient.unbind(dim=1)
        ]
        parts.append(torch.stack([each.mean(dim=1) for each in weighted], dim=1))
    return torch.cat(parts, dim=2)


def _with_itself(added: Relevance | None, attention: Relevance, *, transposed: bool = False) -> Relevance:
    """Ā R̄ of the keys, or R̄ᵀ Ā of the queries, where R − I is what is given; None stands for 0."""
    if added is None:
        return attention
    shares = added / added.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(added.dtype).tiny)
    return attention + (shares.transpose(-2, -1) @ attention if transposed else attention @ shares)
