"""Functions that torch doesn't show to a context: through them relevance isn't passed as if it were a gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from relevance_models import random_images, timm_vit
from torch import Tensor, nn

import vitcam
from vitcam.errors import MethodError
from vitcam.methods.relevance import CHEFER, RuleSet, attnlrp_rules, trace

torch.library.define("vitcam_tests::gelu", "(Tensor x) -> Tensor")
torch.library.impl("vitcam_tests::gelu", "CompositeImplicitAutograd", F.gelu)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scripting is deprecated, which is no reason to be wrong about it

    @torch.jit.script
    def scripted(x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class View(torch.autograd.Function):  # its node is called as that of torch's own view
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(F.gelu(leaf), leaf, gradient)[0]


class Activation(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


CASES = {
    "custom": (
        View.apply,
        "can't follow ViewBackward, by which this model computes: a custom torch.autograd",
    ),
    "scripted": (scripted, "can't follow .*, by which this model computes: .* a scripted function"),
    "operator": (
        torch.ops.vitcam_tests.gelu,
        "has no rule for 'torch._ops.vitcam_tests.gelu', which this model",
    ),
    "overload": (
        torch.ops.vitcam_tests.gelu.default,
        "has no rule for 'torch._ops.vitcam_tests.gelu.default'",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["lrp", "attnlrp"])
def test_is_refused_and_named(method: str, case: str) -> None:
    function, message = CASES[case]
    model = timm_vit()
    model.blocks[1].mlp.act = Activation(function)
    with pytest.raises(MethodError, match=f"{method} {message}"):
        vitcam.explain(model, random_images(), method)
    assert vitcam.explain(model, random_images(), "gae").heatmaps.isfinite().all()


@pytest.mark.parametrize("rules", [CHEFER, attnlrp_rules()], ids=["lrp", "attnlrp"])
def test_is_refused_as_the_last_of_a_model_too(rules: RuleSet) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": View.apply(F.linear(x, torch.eye(4)))}

    with pytest.raises(MethodError, match="can't follow ViewBackward"):
        trace(Scaled(), torch.randn(2, 4), rules)


def test_torchs_own_operators_are_read_by_name() -> None:
    model = timm_vit()
    expected = vitcam.explain(model, random_images(), "lrp").heatmaps
    model.blocks[1].mlp.act = Activation(torch.ops.aten.gelu.default)
    torch.testing.assert_close(vitcam.explain(model, random_images(), "lrp").heatmaps, expected)


def test_below_the_first_layer_of_interest_it_does_no_harm() -> None:
    model = timm_vit()
    expected = vitcam.explain(model, random_images(), "lrp(start_layer=1)").heatmaps
    for act in (F.gelu, View.apply):
        model.blocks[0].mlp.act = Activation(act)
        found = vitcam.explain(model, random_images(), "lrp(start_layer=1)").heatmaps
        torch.testing.assert_close(found, expected)
