"""The attention of one layer, as it is."""

from __future__ import annotations

from vitcam.errors import MethodError
from vitcam.methods.method import Method, TokenMap
from vitcam.methods.rows import through
from vitcam.recording import Need, Recording


def attention(recording: Recording, *, layer: int = -1) -> TokenMap:
    """The class-token row of one layer's attention, mean over heads.

    It doesn't depend on the class: all targets of an image get the same map. Without a class token the row
    is the mean over the tokens that the head reads; where an attention pools them (SigLIP), that one is the
    last layer.

    Args:
        recording: with whole attention maps.
        layer: which layer, from 0; negative counts from the last.

    Raises:
        MethodError: there is no such layer.

    Returns:
        (batch, targets, patches), ≥ 0.

    Example:
        >>> vitcam.explain(model, images, method="attention", layer=5).method
        'attention(layer=5)'
    """
    layers = recording.layers
    if isinstance(layer, bool) or not isinstance(layer, int) or not -len(layers) <= layer < len(layers):
        raise MethodError(
            f"attention has no layer={layer!r}; this model's layers are 0 to {len(layers) - 1}, or negative "
            "from the last"
        )
    chosen = layers[layer]
    if chosen.pooling:
        row = chosen.probabilities().mean(dim=(1, 2))
    else:
        start = recording.head_rows.expand(recording.targets.shape[0], -1)
        row = through(chosen, start)
    return row[:, None, recording.layout.grid.patches].expand(-1, recording.targets.shape[1], -1)


METHOD = Method(
    compute=attention,
    needs=lambda options: Need.MAPS,
    summary="the class token's attention in one layer, mean over heads",
    passes="forward",
    paper="",
    class_specific=False,
)
