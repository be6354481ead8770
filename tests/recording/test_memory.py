"""What a recording keeps in memory."""

from __future__ import annotations

import timm
import torch

from vitcam.recording import Need, Score, record


def test_agcam_keeps_little_more_than_the_values():
    """For a ViT-B/16 at 224×224 that is 7 MiB per image."""
    model, batch = timm.create_model("vit_tiny_patch16_224", depth=4), 3
    score = Score(lambda logits: logits.argmax(1, True))
    recording = record(model, torch.randn(batch, 3, 224, 224), score, Need.SKIP_GRADIENT)
    assert recording.skip_gradients is not None
    kept = [*recording.skip_gradients]
    for layer in recording.layers:
        kept += [layer.call.query, layer.call.key, layer.call.value, layer.output, layer.scores()]
    assert len(kept) == 4 * 6
    total = sum({x.data_ptr(): x.untyped_storage().nbytes() for x in kept}.values())
    values = batch * 4 * 197 * 192 * 4
    assert values < total < 1.1 * values
