"""Grad-SAM (Barkan et al., CIKM 2021, arXiv 2204.11073)."""

from __future__ import annotations

import torch

from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import one_of
from vitcam.methods.rows import read_rows, through_positive
from vitcam.recording import Attention, Need, Recording


def gradsam(recording: Recording, *, rows: str = "all", rules: str = "plain") -> TokenMap:
    """Attention weighted by its own positive gradient, mean over layers, heads and query rows.

    ::

        map_j = mean_l mean_h mean_i  ReLU(∂y/∂A_ij) · A_ij

    with the ordinary gradient, ∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩. i runs over all query rows of a layer: the paper's mean is
    over all tokens, and no row is special. Public implementations differ in the axis that is left: some sum each row
    over its keys instead, which says how much a token takes and not how much is taken from it.

    The paper is about language models. An attention that pools the tokens for the head (SigLIP) is one more layer,
    with its own rows.

    Args:
        recording: with ordinary gradients.
        rows: "all", or "head": only those that the head reads, the class token's or, without one, the mean over the
            tokens that it averages. That isn't in the paper, but says what the class token takes from where.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: an option has another value, or there is no rule for a function that the model uses.

    Returns:
        (batch, targets, patches), ≥ 0, in units of the score.

    Example:
        >>> vitcam.explain(model, images, method="gradsam(rows='head')").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    one_of("gradsam", "rows", rows, ("all", "head"))
    check_rules("gradsam", rules, recording)
    assert recording.gradients is not None

    def shares(layer: Attention) -> torch.Tensor:
        if rows == "head":
            return read_rows(recording, layer)
        return recording.rows_read.new_full((*recording.targets.shape, layer.queries), 1 / layer.queries)

    maps = [
        through_positive(layer, gradient, shares(layer))
        for layer, gradient in zip(recording.layers, recording.gradients, strict=True)
    ]
    return torch.stack(maps).mean(dim=0)[..., recording.layout.grid.patches]


METHOD = Method(
    compute=gradsam,
    needs=lambda options: Need.GRADIENT,
    kind="attention",
    summary="attention × its positive gradient, mean over all layers, heads and query rows",
    passes="forward, backward",
    paper="arXiv 2204.11073",
    by_rules=True,
)
