"""Generic Attention Explainability (Chefer, Gur & Wolf, ICCV 2021, arXiv 2103.15679)."""

from __future__ import annotations

import torch

from vitcam.errors import MethodError
from vitcam.methods.gae_across import gae_across, gae_of_text
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import first_layer
from vitcam.methods.rows import read_rows, through_positive
from vitcam.recording import Need, Recording


def gae(recording: Recording, *, start_layer: int = 0, rules: str = "plain") -> TokenMap:
    """Attention weighted by its own positive gradient, layer upon layer, with skip connections.

    ::

        Ā_l = mean_h ReLU(∂y/∂A_l ⊙ A_l),   R ← R + Ā_l · R  from R = I upward,   map = class-token row of R

    with the ordinary gradient, ∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩. R = (I + Ā_L) · … · (I + Ā_start), so its row is
    had as a row vector from the last layer down, and no product of N×N maps is ever made.

    The paper is about models with a class token. Deviation for others: the row is the mean over the tokens
    that the head reads, of R − I, since the I would only lay a constant over all patches; where an attention
    pools the tokens (SigLIP), that attention's own row of Ā is carried down, without a skip connection of its
    own. In CaiT only the class-attention layers are seen.

    Where queries of an encoder–decoder (DETR) or the tokens of a text (BLIP) attend over the image's tokens, it is
    :func:`vitcam.methods.gae_across.gae_across`, which has no options.

    The authors' code for CLIP begins at the last layer, where this begins at the first for every model:
    ``start_layer=-1`` is theirs.

    Args:
        recording: with ordinary gradients.
        start_layer: the lowest layer that takes part; a negative one counts from the last.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: there is no such layer, or no rule for a function that the model uses; or an option is given
            where attention goes between several sequences.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="gae").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    if recording.layout.obstacle:
        if start_layer or rules != "plain":
            raise MethodError(
                f"gae of {type(recording.model).__name__} goes through the attention between several sequences of "
                "tokens, and has no options there: leave out start_layer= and rules="
            )
        return gae_across(recording)
    check_rules("gae", rules, recording)
    assert recording.gradients is not None
    first = first_layer("gae", start_layer, len(recording.layers))
    pairs = list(zip(recording.layers, recording.gradients, strict=True))[first:]
    start = recording.rows_read.expand(*recording.targets.shape, -1)
    row = torch.zeros_like(start)  # of R − I; the I would drown it in rounding
    for layer, gradient in reversed(pairs):
        if layer.pooling:
            start, row = (
                torch.zeros_like(start),
                through_positive(layer, gradient, read_rows(recording, layer)),
            )
        else:
            row = row + through_positive(layer, gradient, (start + row)[..., : layer.queries])
    return row[..., recording.layout.grid.patches]


METHOD = Method(
    compute=gae,
    needs=lambda options: Need.GRADIENT,
    kind="attention",
    summary="attention × its positive gradient, multiplied up over the layers with skip connections",
    passes="forward, backward",
    paper="arXiv 2103.15679",
    by_rules=True,
    across_sequences=True,
    of_text=gae_of_text,
)
