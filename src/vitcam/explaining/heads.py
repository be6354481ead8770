"""The attention of every head of a layer, each by itself."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.errors import MethodError
from vitcam.explaining.arguments import MoreInputs
from vitcam.explaining.batches import AnyModel, any_targets, for_each_batch
from vitcam.explaining.inputs import Images
from vitcam.heatmap import to_grid
from vitcam.methods.attention import Query, attention_by_head
from vitcam.recording import Need, Precision, Recording


def attention_heads(
    model: AnyModel,
    images: Images,
    *,
    layer: int = -1,
    query: Query = "head",
    inputs: MoreInputs = None,
    precision: Precision = "fp32",
    batch_size: int | None = None,
    device: str | torch.device | None = None,
) -> Float[Tensor, "batch heads h w"]:
    """Where each head of a layer attends: the pictures of DINO's paper, all heads from one pass.

    The mean over heads of what it gives is the map of ``vitcam.explain(…, method="attention")``. A backbone
    without a classification head will do. If its output are all tokens, these are what is read: give
    ``query=0`` for the class token.

    Args:
        layer: which layer, from 0; negative counts from the last.
        query: whose attention: "head", what the model's head reads; (row, column), a patch; or a number, a token
            of the sequence.
        model, images, inputs, precision, batch_size, device: as for :func:`vitcam.explain`.

    Raises:
        MethodError: there is no such layer, patch or token, or the model is no plain ViT.
        ImageError, TargetError, ModelError: as for :func:`vitcam.explain`.

    Returns:
        (batch, heads, rows, columns) float32 ≥ 0 on the patch grid. Of a model with several streams of tokens (one
        that looks at an image and its mirror image) they add up.

    Example:
        >>> maps = vitcam.attention_heads(model, images)
        >>> maps.shape
        torch.Size([8, 12, 14, 14])
        >>> mean = vitcam.explain(model, images, method="attention").heatmaps
        >>> torch.allclose(maps.mean(dim=1, keepdim=True), mean, atol=1e-6)
        True
        >>> pixels = vitcam.heatmap.normalize(vitcam.heatmap.upsample(maps, (224, 224)))
    """

    def by_head(recording: Recording, *_: object) -> Tensor:
        if recording.layout.obstacle:
            raise MethodError(
                f"attention isn't defined for {type(recording.model).__name__}: {recording.layout.obstacle}. "
                "vitcam.inspect(model, images) shows what was found"
            )
        maps = [attention_by_head(stream, layer, query) for stream in recording.by_stream()]
        return to_grid(sum(maps[1:], start=maps[0]).float(), recording.layout.grid)

    parts = for_each_batch(
        by_head,
        model,
        images,
        any_targets(model),
        Need.MAPS,
        batch_size=batch_size,
        device=device,
        precision=precision,
        inputs=inputs,
    )
    return torch.cat(parts)
