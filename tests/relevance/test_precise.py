"""A model computes in more digits than its own, and stays as it is."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from relevance_models import FAMILIES, logits_of, random_images, timm_vit
from torch import Tensor, nn

from vitcam.methods.relevance.precise import at_least


@pytest.mark.parametrize("family", FAMILIES)
def test_is_the_model_in_double_precision(family: str) -> None:
    model, images = FAMILIES[family](), random_images(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad(), at_least(torch.float64):
        found = logits_of(model(images))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, logits_of(copy.deepcopy(model).double()(images.double())))
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert tensor.equal(before[name])


def test_a_model_in_few_digits_computes_in_more() -> None:
    model, images = timm_vit().bfloat16(), random_images(1).bfloat16()
    with torch.no_grad(), at_least(torch.float32):
        found = model(images)
    torch.testing.assert_close(found, copy.deepcopy(model).float()(images.float()))


def lowers(x: Tensor) -> Tensor:
    """All the ways by which a model takes fewer digits."""
    y = x.float().softmax(-1, dtype=torch.float32).to(torch.bfloat16).half().type(torch.float32)
    made = torch.zeros(3) + torch.tensor([1 / 3, 0.1, 7.0]) + x.new_ones(3, dtype=torch.float32)
    filled = torch.empty(3)
    filled[:] = x
    return y.to(torch.zeros(1)) + made + filled.mul_(2) + F.linear(x, torch.eye(3))


def test_nothing_goes_below() -> None:
    x = torch.tensor([0.1, 0.7, -1.3], dtype=torch.float64)
    with at_least(torch.float64):
        found = lowers(x)
    assert found.dtype == torch.float64
    expected = x.softmax(-1) + torch.tensor([1 / 3, 0.1, 7.0]).double() + 1 + 3 * x
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)
    assert lowers(x.float()).dtype == torch.float32  # and outside all is as ever


def test_more_digits_than_asked_for_are_kept() -> None:
    layer = nn.Linear(3, 2).double()
    with at_least(torch.float32):
        assert layer(torch.ones(3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_whole_numbers_become_floating_point_where_a_model_makes_them_so(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 0, 1, 1]]).to(dtype)
    with at_least(torch.float64):
        for found in (mask.float(), mask.half(), mask.to(torch.float32), mask.type(torch.float32)):
            assert found.dtype == torch.float64
        smaller = F.interpolate(mask[None].float(), size=2)
    assert smaller.tolist() == [[[1.0, 1.0]]]
