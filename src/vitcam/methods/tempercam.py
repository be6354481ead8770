"""AGCAM with attention itself, tempered, in the place of the sigmoid: vitcam's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.methods.gradient_rules import check_rules
from vitcam.methods.head_sums import Similarity, maps_by_head, sum_of_heads
from vitcam.methods.method import Method, TokenMap
from vitcam.recording import Need, Recording

POWER = 0.5


def tempercam(
    recording: Recording,
    *,
    power: float = POWER,
    positive: bool = True,
    layers: str | Sequence[int] = "last:half",
    rules: str = "plain",
) -> TokenMap:
    """What each patch adds to the score through attention, tempered so that whole objects are covered.

    For a target's logit y and patch j::

        map_j = Σ_layers Σ_heads Σ_queries  ReLU(∂y/∂A_ij) · A_ij^p,        p = 1/2, the upper half of the layers

    with A = softmax(S), and ∂y/∂A_ij = ⟨∂y/∂O_i, v_j⟩ along the skip connections, as in :func:`agcam`. At p = 1 and
    without the ReLU a term is what head and layer add to the score by reading patch j: since O = A v, the terms of a
    row sum to ⟨∂y/∂O_i, O_i⟩. A softmax gives nearly all of that to a few peaks. Its p-th power is, but for a factor
    of each row, the softmax at temperature 1/p: it keeps the order within a row and narrows the gaps. AGCAM's sigmoid
    goes further: it looks at each score alone, and forgets how a patch stands to the others of its row.

    Source: vitcam's own. docs/better-map.md says how it was chosen and where it is worse.

    Rows that take part, models without a class token, and cost: as :func:`agcam`.

    Args:
        recording: with the gradient along the skip connections.
        power: p. 1 is the contribution itself; the smaller, the wider the map.
        positive: False keeps what speaks against the class (no ReLU).
        layers: which layers take part: "last:half", "all", "last:K", "first:K" or a list of indices.
        rules: by which gradients come back, "plain", "libra" or "cp-lrp": see :mod:`vitcam.methods.gradient_rules`.

    Raises:
        MethodError: the power isn't above 0 and at most 1, there are no such layers, or there is no rule for a
            function that the model uses.

    Returns:
        (batch, targets, patches), ≥ 0 by default; in units of the score if p = 1.

    Example:
        >>> vitcam.explain(model, images, method="tempercam(power=0.7)").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    check_rules("tempercam", rules, recording)
    assert recording.skip_gradients is not None
    return sum_of_heads(
        recording,
        recording.skip_gradients,
        _similarity(power),
        positive=positive,
        method="tempercam",
        layers=layers,
    )


def tempercam_by_head(
    recording: Recording,
    *,
    power: float = POWER,
    positive: bool = True,
    layers: str | Sequence[int] = "last:half",
) -> Float[Tensor, "batch targets layers heads patches"]:
    """The map before its sum, as :func:`agcam_by_head` is that of AGCAM; 0 for layers that take no part.

    Args:
        recording: with the gradient along the skip connections.
        power, positive, layers: as for :func:`tempercam`.

    Raises:
        MethodError: an option is wrong, the model is no plain ViT, or its layers have different numbers of heads.

    Returns:
        (batch, targets, layers, heads, patches), ≥ 0 by default.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> recording = record(model, images, Score(lambda logits: logits.argmax(1, True)), Need.SKIP_GRADIENT)
        >>> tempercam_by_head(recording).sum(dim=(2, 3)).allclose(tempercam(recording), atol=1e-5)
        True
    """
    return maps_by_head(recording, _similarity(power), positive=positive, method="tempercam", layers=layers)


def tempered(scores: Float[Tensor, "*rows keys"], power: float) -> Float[Tensor, "*rows keys"]:
    """softmax(S)^p, over the keys.

    Example:
        >>> tempered(torch.tensor([0.0, 0.0]), 0.5)
        tensor([0.7071, 0.7071])
    """
    # p log A does not underflow where A would; a hidden key's −∞ gives 0.
    return scores.log_softmax(dim=-1).mul_(power).exp_()


def _similarity(power: float) -> Similarity:
    if not 0 < power <= 1:
        raise MethodError(f"tempercam takes a power above 0 and at most 1, such as {POWER}; not {power!r}")
    return partial(tempered, power=power)


METHOD = Method(
    compute=tempercam,
    needs=lambda options: Need.SKIP_GRADIENT,
    kind="attention",
    summary="positive gradients along the skip connections × the root of attention, upper half of the layers",
    passes="forward, replay of the class token",
    paper="vitcam",
    by_rules=True,
)
