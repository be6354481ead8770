"""Transition Attention Maps and Beyond Intuition, with whole matrices and explicit softmax."""

from __future__ import annotations

import pytest
import torch

import vitcam
from contract import oracle
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError


def tam_states(model, images, start, target, first):
    maps = oracle.attention_maps(model, images)
    states = start[None, None] @ maps[-1]
    for layer in maps[first:-1][::-1]:
        states = states @ layer + states
    return states


def bt_states(model, images, start, target, first):
    """The authors' loop, from the first layer up, on whole matrices."""
    product = torch.eye(len(start)).expand(len(images), -1, -1)
    for layer in oracle.gradients(model, images, lambda output: output[:, target])[first:]:
        share = (layer.maps.transpose(-1, -2) @ layer.maps.grad).abs().mean(dim=(-1, -2))
        share = share / share.sum(dim=1, keepdim=True)
        product = product + (share[:, :, None, None] * layer.maps).sum(dim=1).detach() @ product
    return start[None, None] @ product


def times_integrated_gradient(states, model, images, start, target, steps):
    total = 0
    for share in torch.linspace(0, 1, steps):
        (*_, last) = oracle.gradients(model, images * share, lambda output: output[:, target])
        total = total + last.maps.grad
    return (states * (start[None, None] @ (total / steps).relu().mean(dim=1)))[:, 0]


@pytest.mark.parametrize(("method", "states"), [("tam", tam_states), ("bt", bt_states)])
@pytest.mark.parametrize(("name", "first"), [("torchvision vit", 0), ("hf vit", 1), ("timm eva02", 0)])
def test_equals_whole_matrices(name, first, method, states):
    family, model, images = FAMILIES[name], model_of(name).eval(), images_of(name, 2)
    start = torch.zeros(family.grid.prefix + family.grid.tokens)
    start[0 if family.head == "class token" else family.grid.patches] = 1
    start /= start.sum()
    ours = vitcam.explain(model, images, method, [[2, 5]] * 2, steps=3, start_layer=first)

    def called(images):
        output = model(images)
        return getattr(output, "logits", output)

    for place, target in enumerate((2, 5)):
        carried = states(called, images, start, target, first)
        whole = times_integrated_gradient(carried, called, images, start, target, 3)
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
