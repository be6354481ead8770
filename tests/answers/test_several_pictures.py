"""Models that take two pictures side by side: each has its own map, of the same score."""

from __future__ import annotations

import answer_models as models
import pytest
import torch
from torch import nn

import vitcam
from contract import oracle
from small_models import perturbed
from vitcam.errors import ImageError, ModelError
from vitcam.photos import photo_path


class Siamese(nn.Module):
    """The similarity of two pictures, by one backbone; the second may be left out."""

    def __init__(self):
        super().__init__()
        self.backbone = perturbed(models.timm_backbone())

    def forward(self, first, second=None):
        second = first.flip(-1) if second is None else second
        pair = (nn.functional.normalize(self.backbone(each), dim=1) for each in (first, second))
        return torch.stack([a * b for a, b in [tuple(pair)]])[0].sum(dim=1, keepdim=True)


class Joined(nn.Module):
    """Tokens of both pictures attend to each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.head = nn.Conv2d(3, 24, 8, 8), nn.Linear(24, 3)
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(24, 3, 48, batch_first=True, dropout=0.0), 2
        )
        self.places = nn.Parameter(torch.randn(33, 24))

    def forward(self, before, after):
        tokens = [self.patches(each).flatten(2).transpose(1, 2) for each in (before, after)]
        first = torch.zeros_like(tokens[0][:, :1])
        return self.head(self.layers(torch.cat([first, *tokens], dim=1) + self.places)[:, 0])


PAIR = {"first": models.noise(2), "second": models.noise(4)[2:]}


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))


def test_each_of_two_pictures_has_the_oracles_map_one_by_one_and_together():
    model = Siamese().eval()
    both = vitcam.explain_each(model, PAIR, "gradsam", vitcam.value(0))
    alone = vitcam.explain_each(model, PAIR, "gradsam", vitcam.value(0), batch_size=1)
    layers = oracle.gradients(lambda x: model(x, PAIR["second"]), PAIR["first"], lambda y: y[:, 0])
    maps = [(layer.maps.grad.relu() * layer.maps).mean(dim=(1, 2))[:, 1:] for layer in layers]
    half = len(maps) // 2
    for name, own in (("first", maps[:half]), ("second", maps[half:])):
        close(both[name].heatmaps.flatten(1), sum(own) / half)
        close(alone[name].heatmaps, both[name].heatmaps)
        assert both[name].answered[0][0].value == pytest.approx(float(model(*PAIR.values())[0, 0]), rel=1e-4)


def test_the_map_of_a_picture_is_at_its_own_places():
    model, names = Joined().eval(), ("before", "after")
    pair = dict(zip(names, PAIR.values(), strict=True))
    both = vitcam.explain_each(model, pair, "occlusion(size=1)", vitcam.value(0))
    with torch.no_grad():
        whole = model(*pair.values())[:, 0]
        for name in names:
            painted = {key: value.clone() for key, value in pair.items()}
            painted[name][:, :, 8:16, 24:32] = 0
            close(both[name].heatmaps[:, 0, 1, 3], whole - model(*painted.values())[:, 0])
    attended = vitcam.explain_each(model, pair, "gae", vitcam.value(0))
    assert (attended[names[0]].heatmaps - attended[names[1]].heatmaps).abs().max() > 0


def test_photographs_are_prepared_and_what_does_not_fit_is_said():
    model = vitcam.LoadedModel(
        Siamese(), vitcam.Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    )
    photographs = {"first": photo_path("cat"), "second": [photo_path("cup")]}
    both = vitcam.explain_each(model, photographs, targets=vitcam.value(0))
    assert both["second"].heatmaps.shape == (1, 1, 4, 4)
    with pytest.raises(ImageError, match="2 of 'first', 1 of 'second'"):
        vitcam.explain_each(model, PAIR | {"second": PAIR["second"][:1]})
    with pytest.raises(ImageError, match="two pictures or more"):
        vitcam.explain_each(model, {"first": PAIR["first"]})
    with pytest.raises(ModelError, match=r"takes no .*'third'"):
        vitcam.explain_each(model, PAIR | {"third": PAIR["first"]})
