"""Parity with the maps that AGCAM's authors' own code gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open

import vitcam
from vitcam.methods import METHODS
from vitcam.recording import Need, Score, record

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(which):
    with safe_open(GOLDEN / f"authors_vit_{which}.safetensors", "pt") as file:
        meta, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # no dict
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=int(meta["img"]),
        patch_size=int(meta["patch"]),
        embed_dim=int(meta["dim"]),
        depth=int(meta["depth"]),
        num_heads=int(meta["heads"]),
        num_classes=int(meta["classes"]),
    )
    model.load_state_dict(
        {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/")}
    )
    return model, tensors


def difference(ours, theirs):
    """The largest difference, as a share of each map's maximum."""
    return ((ours - theirs).abs().flatten(1).amax(1) / theirs.flatten(1).amax(1)).max().item()


@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("target", ["pred", "other"])
@pytest.mark.parametrize("which", ["a", "b"])
def test_agcam_is_the_authors(which, target, batch_size):
    model, data = golden(which)
    e = vitcam.explain(model, data["images"], targets=data[target], batch_size=batch_size)
    torch.testing.assert_close(e.logits, data["logits"], atol=1e-5, rtol=1e-5)
    assert difference(e.heatmaps[:, 0], data[f"heatmaps/agcam_{target}"]) < 1e-5


@pytest.mark.parametrize("which", ["a", "b"])
def test_agcam_is_the_authors_without_replay(which):
    model, data = golden(which)
    score = Score(choose=lambda logits: torch.stack([data["pred"], data["other"]], dim=1))
    recording = record(model, data["images"], score, Need.SKIP_GRADIENT, allow_replay=False)
    assert not recording.replayed
    maps = METHODS["agcam"].compute(recording)
    for index, target in enumerate(["pred", "other"]):
        expected = data[f"heatmaps/agcam_{target}"]
        assert difference(maps[:, index].reshape(expected.shape), expected) < 1e-5


@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("which", ["a", "b"])
def test_rollout_is_the_authors(which, batch_size):
    model, data = golden(which)
    e = vitcam.explain(model, data["images"], method="rollout", batch_size=batch_size)
    assert difference(e.heatmaps[:, 0], data["heatmaps/rollout"]) < 1e-5


@pytest.mark.parametrize("which", ["a", "b"])
def test_predicted_class_is_the_default_target(which):
    model, data = golden(which)
    assert torch.equal(vitcam.explain(model, data["images"]).targets[:, 0], data["pred"])
