"""Transition Attention Maps (Yuan et al., NeurIPS 2021 workshop XAI4Debugging): attention as a Markov chain."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.methods.method import Method, TokenMap
from vitcam.methods.options import at_least, first_layer
from vitcam.methods.passes import check_row_by_row
from vitcam.methods.rows import read_rows, through
from vitcam.recording import (
    Attention,
    AttentionCall,
    Need,
    Recording,
    fast_linear,
    intercept,
    with_head_dimension,
)


def tam(recording: Recording, *, start_layer: int = 0, steps: int = 20) -> TokenMap:
    """Attention carried down from the class token, times the integrated gradient of the last layer's attention.

    ::

        s ← row of mean_h A_L;   s ← s · mean_h A_l + s   for l = L−1 … start_layer
        map_j = s_j · mean_h ReLU( mean over α of ∂y(α·x)/∂A_L )_j,   α = 0, 1/(steps−1), …, 1

    with the class token's row of both. The formulas are those of the authors' code (XianrenYty/
    Transition_Attention_Maps), which starts at the first layer by default and scales the normalised image.

    Models without a class token: the mean over the rows that the head reads, or over the pooling attention's.

    Args:
        recording: with every layer's maps; its model is run again.
        start_layer: the lowest layer that takes part.
        steps: places on the way from zero to the image.

    Raises:
        MethodError: there is no such layer, or fewer than two steps.

    Returns:
        (batch, targets, patches), ≥ 0. It takes ``steps`` forward passes besides the recording's, and a backward pass
        from the score to the last layer for each class.

    Example:
        >>> vitcam.explain(photo_model, photo, method="tam", steps=4).method
        'tam(steps=4)'
    """
    at_least("tam", "steps", steps, 2)
    layers = recording.layers
    first = first_layer("tam", start_layer, len(layers))
    last = layers[-1]
    row = (
        through(last, recording.rows_read) if not last.pooling else last.probabilities().mean((1, 2))[:, None]
    )
    for layer in layers[first:-1][::-1]:
        row = row + through(layer, row)
    maps = row * integrated_gradient(recording, steps)
    return maps[..., recording.layout.grid.patches]


def integrated_gradient(recording: Recording, steps: int) -> Float[Tensor, "batch targets tokens"]:
    """The head's row of mean_h ReLU of the mean gradient of the last layer's maps, from zero to the images."""
    rows = read_rows(recording, recording.layers[-1])
    total = torch.zeros((), device=rows.device)
    with recording.resumed() as model, torch.enable_grad(), fast_linear():
        check_row_by_row(recording, model)
        for share in torch.linspace(0, 1, steps).tolist():
            layer, gradients = _last_layer(recording, share)
            total = total + torch.stack([layer.map_gradient(gradient) for gradient in gradients], dim=1)
    positive = (total / steps).relu().mean(dim=2)  # batch, targets, queries, keys
    return (rows[:, :, None] @ positive).squeeze(2)


def _last_layer(recording: Recording, share: float) -> tuple[Attention, list[Tensor]]:
    """The last layer that the head reads in a pass of scaled images, and ∂y/∂O of each target."""
    layout, images = recording.layout, recording.images
    read = [
        n
        for n, site in enumerate(layout.calls)
        if site.stream is not None and (recording.pools or not site.pools)
    ]
    calls = iter(range(len(layout.calls)))
    kept: list[Attention] = []

    def attend(call: AttentionCall) -> Tensor:
        number = next(calls)
        if number != read[-1]:
            return call.run()
        by_head = with_head_dimension(call, len(images))
        output = by_head.run().detach().requires_grad_()
        kept.append(Attention(layout.calls[number].name, layout.calls[number].pools, by_head, output))
        return output.clone().reshape(*call.query.shape[:-1], output.shape[-1])

    with intercept(attend, eager=layout.eager):
        scores = recording.scorer()(recording.model(images * share))
    count = scores.shape[1]
    return kept[0], [
        torch.autograd.grad(scores[:, t].sum(), kept[0].output, retain_graph=t + 1 < count)[0]
        for t in range(count)
    ]


METHOD = Method(
    compute=tam,
    needs=lambda options: Need.MAPS,
    kind="attention",
    summary="attention carried down as a Markov chain, times the last layer's integrated gradient",
    passes="forward, and steps × forward",
    paper="Yuan et al., NeurIPS 2021 XAI4Debugging",
    one_stream_only=True,
    many_passes=True,
)
