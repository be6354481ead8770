"""What gae has beyond the contract suite: its lowest layer, and one backward pass for several methods."""

from __future__ import annotations

import pytest
import torch

import vitcam
from contract import oracle
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError
from vitcam.recording import attention


@pytest.mark.parametrize(
    ("name", "start_layer"), [("timm vit", 2), ("timm vit", -1), ("torchvision vit", 1), ("timm siglip", 1)]
)
def test_start_layer_equals_oracle(name, start_layer):
    family, model, images = FAMILIES[name], model_of(name).eval(), images_of(name, 2)
    tokens, pools = family.grid.prefix + family.grid.tokens, family.pooling_layers > 0
    start = torch.eye(tokens)[0]
    expected = oracle.gae(model, images, lambda logits: logits[:, 3], start, pools, start_layer)
    ours = vitcam.explain(model, images, f"gae(start_layer={start_layer})", targets=3)
    assert ours.method == f"gae(start_layer={start_layer})"
    expected = expected[:, family.grid.patches]
    scale = expected.max().item()
    torch.testing.assert_close(ours.heatmaps[:, 0].flatten(1) / scale, expected / scale, atol=1e-3, rtol=0)


def test_chunks_of_rows_make_no_difference(monkeypatch):
    model, images = model_of("timm gap"), images_of("timm gap", 2)
    methods = ["gae", "gradsam", "legrad", "rollout(head_fusion='max')", "agcam(skip_path=False)"]
    whole = vitcam.compare(model, images, methods, targets=[[1, 2], [3, 4]])
    monkeypatch.setattr(attention, "CHUNK_BYTES", 4 * 2 * 3 * 196 * 7)
    chunked = vitcam.compare(model, images, methods, targets=[[1, 2], [3, 4]])
    for name in methods:
        one, other = whole[name].heatmaps, chunked[name].heatmaps
        torch.testing.assert_close(one / one.max(), other / one.max(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (4, r"gae has no start_layer=4; this model's layers are 0 to 3 \(negative: from the last\)"),
        (-5, "gae has no start_layer=-5"),
        ("one", "gae takes a whole number as start_layer, such as 0; not 'one'"),
    ],
)
def test_wrong_start_layer(value, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model_of("timm vit"), images_of("timm vit", 1), "gae", start_layer=value)


def test_compare_gives_what_each_method_gives_alone():
    """All needs at once: the passes are shared, and no method sees another's."""
    model, images = model_of("timm vit"), images_of("timm vit", 2)
    methods = ["agcam", "rollout", "gae", "gradsam", "gradcam", "legrad", "legrad(pooling='head')"]
    together = vitcam.compare(model, images, methods, targets=[[1, 2], [3, 4]])
    for name in methods:
        alone = vitcam.explain(model, images, name, targets=[[1, 2], [3, 4]]).heatmaps
        torch.testing.assert_close(
            together[name].heatmaps / alone.max(), alone / alone.max(), atol=1e-5, rtol=0
        )


def test_compare_runs_the_whole_model_once():
    model, images = model_of("timm vit"), images_of("timm vit", 2)
    rows = []
    handle = model.blocks[1].register_forward_hook(lambda module, args, output: rows.append(output.shape[1]))
    try:
        vitcam.explain(
            model, images, "gradcam"
        )  # what must be known of the model, hooks included, is known now
        rows.clear()
        vitcam.compare(model, images, ["agcam", "rollout", "gae", "gradsam", "gradcam"])
    finally:
        handle.remove()
    assert rows == [197, 1]  # the second is the replay of the class token


@pytest.mark.parametrize("method", ["agcam(skip_path=False)", "gae", "gradsam", "gradcam", "legrad"])
def test_lower_precision_gives_nearly_the_same(method):
    model, images = model_of("timm vit"), images_of("timm vit", 2)
    exact = vitcam.explain(model, images, method, targets=3).heatmaps
    lower = vitcam.explain(model, images, method, targets=3, precision="bf16").heatmaps
    assert not torch.equal(exact, lower)
    assert lower.dtype == torch.float32
    assert torch.corrcoef(torch.stack([exact.flatten(), lower.flatten()]))[0, 1] > 0.95
