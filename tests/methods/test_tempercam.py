"""tempercam: its options against whole attention maps, what its terms add up to, and what is refused."""

from __future__ import annotations

import pytest
import torch

import vitcam
from contract import oracle
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError
from vitcam.methods.tempercam import tempered
from vitcam.recording import Need, Score, record


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({"power": 0.7}, {"power": 0.7}),
        ({"power": 1, "positive": False}, {"power": 1, "positive": False}),
        ({"layers": "all"}, {"layers": slice(None)}),
        ({"positive": False, "layers": [0]}, {"positive": False, "layers": slice(1)}),
    ],
)
@pytest.mark.parametrize("name", ["timm vit", "timm siglip"])
def test_option_equals_oracle(name, options, by_hand):
    family, model, images = FAMILIES[name], model_of(name).eval(), images_of(name, 2)
    ours = vitcam.explain(model, images, "tempercam", targets=[[1, 3], [0, 2]], **options)
    expected = oracle.tempercam(
        model,
        images,
        lambda logits: logits[[0, 1], [3, 2]],
        family.layers - family.pooling_layers,
        family.grid.patches,
        **by_hand,
    )
    scale = expected.abs().max()
    torch.testing.assert_close(ours.heatmaps[:, 1].flatten(1) / scale, expected / scale, atol=1e-4, rtol=0)


def test_at_power_one_the_terms_of_a_row_add_up_to_what_attention_adds_to_the_score():
    score = Score(lambda logits: logits.argmax(1, True))
    recording = record(model_of("timm vit"), images_of("timm vit", 2), score, Need.SKIP_GRADIENT)
    for layer, gradient in zip(recording.layers, recording.skip_gradients, strict=True):
        terms = layer.map_gradient(gradient[:, 0, :, :1]) * tempered(layer.scores(slice(1)), 1)
        whole = (gradient[:, 0, :, :1] * layer.output[:, :, :1]).sum(dim=-1)
        torch.testing.assert_close(terms.sum(dim=-1), whole, rtol=1e-4, atol=1e-7)


def test_hidden_keys_and_sharp_attention_are_finite():
    rows = tempered(torch.tensor([[0.0, -torch.inf, 1.0], [300.0, 0.0, 150.0]]), 0.5)
    assert rows[0, 1] == 0
    assert torch.isfinite(rows).all()
    torch.testing.assert_close(rows[1, 2], torch.tensor(-75.0).exp())  # where the softmax itself is 0


@pytest.mark.parametrize("power", [0, -0.5, 1.5])
def test_wrong_powers(power):
    with pytest.raises(MethodError, match=f"tempercam takes a power above 0 and at most 1, .*; not {power}"):
        vitcam.explain(model_of("timm vit"), images_of("timm vit", 1), "tempercam", power=power)


@pytest.mark.parametrize("method", ["tempercam", "tempercam(power=1, positive=False, layers='first:1')"])
def test_parts_add_up_to_the_map(method):
    model, images = model_of("timm vit"), images_of("timm vit", 2)
    whole = vitcam.explain(model, images, method, targets=[[0, 1], [2, 3]])
    parts = vitcam.decompose(model, images, [[0, 1], [2, 3]], method)
    torch.testing.assert_close(parts.total(), whole.heatmaps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.shares.sum(dim=(2, 3)), torch.ones(2, 2))
    assert (parts.shares >= 0).all()
    without = [0, 1] if method == "tempercam" else [1, 2, 3]
    assert not parts.maps[:, :, without].any()


@pytest.mark.parametrize("method", ["rollout", "agcam(positive=False)"])
def test_other_maps_can_not_be_taken_apart(method):
    with pytest.raises(MethodError, match=r"can't be taken apart. What can: agcam, and tempercam"):
        vitcam.decompose(model_of("timm vit"), images_of("timm vit", 1), method=method)
