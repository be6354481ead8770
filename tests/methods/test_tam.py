"""Transition Attention Maps, with whole matrices and explicit softmax."""

from __future__ import annotations

import pytest
import torch

import vitcam
from contract import oracle
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError


def by_whole_matrices(model, images, start, target, steps, first):
    maps = oracle.attention_maps(model, images)
    states = start[None, None] @ maps[-1]
    for layer in maps[first:-1][::-1]:
        states = states @ layer + states
    total = 0
    for share in torch.linspace(0, 1, steps):
        (*_, last) = oracle.gradients(model, images * share, lambda output: output[:, target])
        total = total + last.maps.grad
    return (states * (start[None, None] @ (total / steps).relu().mean(dim=1)))[:, 0]


@pytest.mark.parametrize(("name", "first"), [("torchvision vit", 0), ("hf vit", 1), ("timm eva02", 0)])
def test_equals_whole_matrices(name, first):
    family, model, images = FAMILIES[name], model_of(name).eval(), images_of(name, 2)
    start = torch.zeros(family.grid.prefix + family.grid.tokens)
    start[0 if family.head == "class token" else family.grid.patches] = 1
    start /= start.sum()
    ours = vitcam.explain(model, images, "tam", [[2, 5]] * 2, steps=3, start_layer=first)
    for place, target in enumerate((2, 5)):
        whole = by_whole_matrices(
            lambda x: getattr(model(x), "logits", None) if name == "hf vit" else model(x),
            images, start, target, 3, first,
        )  # fmt: skip
        expected = whole[:, family.grid.patches]
        found = ours.heatmaps[:, place].flatten(1)
        torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3)
        assert found.max() > 0


def test_wrong_options():
    model, images = model_of("torchvision vit").eval(), images_of("torchvision vit", 1)
    with pytest.raises(MethodError, match="tam takes a whole number of at least 2 as steps, not 1"):
        vitcam.explain(model, images, "tam(steps=1)")
    with pytest.raises(MethodError, match="tam has no start_layer=7"):
        vitcam.explain(model, images, "tam(start_layer=7)")
