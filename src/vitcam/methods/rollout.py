"""Attention Rollout (Abnar & Zuidema, ACL 2020, arXiv 2005.00928)."""

from __future__ import annotations

from vitcam.methods.method import Method, TokenMap
from vitcam.methods.rows import head_row, through
from vitcam.recording import Need, Recording


def rollout(recording: Recording) -> TokenMap:
    """Attention of all layers multiplied up, the skip connection counted as half of each layer.

    ::

        map = class-token row of  Ã_L · … · Ã_1,   Ã_l = (mean_h A_l + I) / 2

    computed as a row vector from the last layer down, so that no product of N×N maps is ever made.
    It doesn't depend on the class: all targets of an image get the same map.

    Without a class token the row is the mean over the tokens that the head reads, or the row of the
    attention that pools them (SigLIP). In CaiT only the class-attention layers are seen.

    Returns:
        (batch, targets, patches), ≥ 0; with the prefix tokens' share each image's map sums to 1.

    Example:
        >>> vitcam.explain(model, images, method="rollout").heatmaps.shape
        torch.Size([8, 1, 14, 14])
    """
    row, layers = head_row(recording)
    for layer in reversed(layers):
        row = (through(layer, row) + row) / 2
    return row[:, None, recording.layout.grid.patches].expand(-1, recording.targets.shape[1], -1)


METHOD = Method(
    compute=rollout,
    needs=lambda options: Need.MAPS,
    summary="attention of all layers multiplied up, with skip connections",
    paper="arXiv 2005.00928",
    class_specific=False,
)
