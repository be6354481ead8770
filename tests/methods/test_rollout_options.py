"""Rollout's head fusion and discarding, against lists and loops."""

from __future__ import annotations

from statistics import fmean

import pytest
import torch

import vitcam
from contract import oracle
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError

FUSIONS = {"mean": fmean, "max": max, "min": min}
NAME = "torchvision vit"  # 17 tokens


@pytest.mark.parametrize("discard_ratio", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("head_fusion", FUSIONS)
def test_options_equal_oracle(head_fusion, discard_ratio):
    family, model, images = FAMILIES[NAME], model_of(NAME).eval(), images_of(NAME, 2)
    ours = vitcam.explain(
        model, images, "rollout", head_fusion=head_fusion, discard_ratio=discard_ratio
    ).heatmaps[:, 0]
    layers: list[oracle.Layer] = []
    with oracle.explicit_attention(layers, None):
        model(images)
    for i in range(2):
        maps = [layer.maps[i].detach() for layer in layers]
        expected = oracle.rollout_of_one(maps, FUSIONS[head_fusion], discard_ratio)[family.grid.patches]
        torch.testing.assert_close(ours[i].flatten(), expected, atol=1e-6, rtol=1e-4)


def test_the_class_tokens_attention_to_itself_is_kept():
    """Discarding nearly all: of the first row only the first entry is left, and no patch gets any."""
    model, images = model_of(NAME).eval(), images_of(NAME, 1)
    layers: list[oracle.Layer] = []
    with oracle.explicit_attention(layers, None):
        model(images)
    maps = [layer.maps[0].detach() for layer in layers]
    entries = maps[0].shape[-1] ** 2
    ratio = (entries - 1) / entries
    kept_first = oracle.rollout_of_one(maps, fmean, ratio)
    ours = vitcam.explain(model, images, "rollout", discard_ratio=ratio).heatmaps[0, 0]
    torch.testing.assert_close(ours.flatten(), kept_first[1:], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["timm siglip", "timm gap", "timm cait"])
def test_options_work_without_a_class_token_in_the_layers(name):
    e = vitcam.explain(model_of(name), images_of(name, 2), "rollout(head_fusion='max', discard_ratio=0.5)")
    plain = vitcam.explain(model_of(name), images_of(name, 2), "rollout")
    assert e.heatmaps.isfinite().all()
    assert (e.heatmaps - plain.heatmaps).abs().max() > 1e-6
    assert e.method == "rollout(head_fusion='max', discard_ratio=0.5)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"head_fusion": "median"},
            "rollout has no head_fusion='median'; choose one of 'mean', 'max', 'min'",
        ),
        ({"discard_ratio": 1.0}, "discard_ratio from 0 to below 1, not 1.0"),
        ({"discard_ratio": -0.1}, "from 0 to below 1, not -0.1"),
        ({"discard_ratio": "half"}, "rollout takes a number as discard_ratio, such as 0.0; not 'half'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model_of(NAME), images_of(NAME, 1), "rollout", **options)
