"""Gradients by rules of models that write out what torch has a function for: the same maps, or an error."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from relevance_models import random_images
from torch import Tensor, nn

import vitcam
from small_models import HomemadeViT, perturbed
from vitcam.errors import MethodError, ModelError

IMAGES = random_images(2, 32).double()


def homemade(**options) -> nn.Module:
    return perturbed(HomemadeViT(**options), matrices=0.1, vectors=0.3).double()


def of(function):
    class Layer(nn.Module):
        def forward(self, x):
            return function(x)

    return Layer()


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() < 1e-4 * expected.abs().max())


GATES = {
    "gelu": (F.gelu, lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
    "gelu by tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3)))),
    ),
    "silu": (F.silu, lambda x: x * torch.sigmoid(x)),
    "mish": (F.mish, lambda x: x * torch.tanh(F.softplus(x))),
    "hardswish": (F.hardswish, lambda x: x * F.relu6(x + 3) / 6),
}


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_written_out_is_the_function(gate):
    names = [f"{name}(rules={rules!r})" for name in ("gae", "agcam") for rules in ("libra", "cp-lrp")]
    found = []
    for function in GATES[gate]:
        model = homemade()
        for block in model.blocks:
            block.mlp[2] = of(function)
        found.append(vitcam.compare(model, IMAGES, names, targets=3))
    for name in names:
        assert close(found[1][name].heatmaps, found[0][name].heatmaps), name


def test_a_product_with_another_value_is_halved():
    """A tanh isn't the gate of what it isn't made of."""
    model = homemade()

    class Product(nn.Module):
        def __init__(self, halves):
            super().__init__()
            torch.manual_seed(1)
            self.one, self.other, self.halves = nn.Linear(24, 24), nn.Linear(24, 24), halves

        def forward(self, x):
            one, other = self.one(x), torch.tanh(self.other(x))
            return (one * other.detach() + one.detach() * other) / 2 if self.halves else one * other

    found = []
    for halves, rules in ((False, "libra"), (True, "plain")):
        for block in model.blocks:
            block.norm, block.mlp = nn.Identity(), nn.Sequential(Product(halves).double(), nn.ReLU())
            block.mlp[0].other.weight.data.mul_(1e-3)  # where tanh(x) / x is its slope
            block.mlp[0].other.bias.data.zero_()
        found.append(vitcam.explain(model, IMAGES, f"agcam(rules={rules!r})", targets=3).heatmaps)
    assert close(found[0], found[1])


class GatedBlock(nn.Module):
    """x + out(attention · gate(x)), without norms; by hand what goes to the gate is half."""

    halves = None

    def __init__(self):
        super().__init__()
        self.qkv, self.gate, self.out = nn.Linear(24, 72), nn.Linear(24, 24), nn.Linear(24, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        a, gate = F.scaled_dot_product_attention(q, k, v), self.gate(x)
        if self.halves is not None:
            self.scores, self.values = (q @ k.mT / math.sqrt(8)).detach(), v.detach()
            self.given = a = a.detach().requires_grad_()
        a = a.transpose(1, 2).flatten(2)
        return x + self.out((a * gate.detach() + a.detach() * gate) / 2 if self.halves else a * gate)


@pytest.mark.parametrize("rules", ["plain", "libra"])
def test_the_first_block_is_as_the_others(rules):
    """What goes into it comes from the image, too."""
    model = homemade()
    torch.manual_seed(0)
    model.blocks = nn.ModuleList(GatedBlock() for _ in range(2))
    model = perturbed(model.float(), matrices=0.1, vectors=0.1).double()
    for block in model.blocks:
        block.halves = rules == "libra"
    score = model(IMAGES)[:, 3].sum()
    gradients = torch.autograd.grad(score, [block.given for block in model.blocks])
    expected = [
        ((gradient @ block.values.mT).relu() * block.scores.sigmoid())[:, :, 0, 1:].sum(1)
        for gradient, block in zip(gradients, model.blocks, strict=True)
    ]
    for block in model.blocks:
        block.halves = None
    for layer in range(2):
        e = vitcam.explain(model, IMAGES, f"agcam(layers=[{layer}],rules={rules!r})", targets=3)
        assert close(e.heatmaps[:, 0].flatten(1), expected[layer])


@pytest.mark.parametrize("rules", ["libra", "cp-lrp"])
@pytest.mark.parametrize(
    "change",
    [
        lambda a: torch.einsum("bhij,hg->bgij", a, torch.eye(3).to(a) + 0.1),
        lambda a: a.square(),
        lambda a: a.clamp(min=0.05),
    ],
    ids=["heads mixed", "squared", "clamped"],
)
def test_weights_that_are_changed_are_no_constants(change, rules):
    def attend(q, k, v, dropout):
        return change((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)) @ v

    model = homemade()
    model.blocks[1].attend = attend
    with pytest.raises(MethodError, match="has no rule for a softmax that isn't attention's"):
        vitcam.explain(model, IMAGES, f"gradcam(layer='blocks.0',rules={rules!r})", targets=3)


NORMS = {
    "divided": lambda x, v: x / v.sqrt(),
    "rsqrt": lambda x, v: x * torch.rsqrt(v),
    "power": lambda x, v: x * v**-0.5,
}


@pytest.mark.parametrize("rules", ["libra", "cp-lrp"])
@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_of_ones_own_is_the_norm_or_an_error(norm, rules):
    found = []
    for layer in (nn.RMSNorm(24, eps=1e-6), of(lambda x: NORMS[norm](x, x.square().mean(-1, True) + 1e-6))):
        model = homemade()
        for block in model.blocks:
            block.norm = layer.double()
        if norm == "power" and found:
            with pytest.raises(MethodError, match=f"rules='{rules}' has no rule for torch's 'pow'"):
                vitcam.explain(model, IMAGES, f"agcam(rules={rules!r})", targets=3)
            return
        found.append(vitcam.explain(model, IMAGES, f"agcam(rules={rules!r})", targets=3).heatmaps)
    assert close(found[1], found[0])


@pytest.mark.parametrize(("classes", "two"), [(5, [2, 3]), (2, [0, 1])])
def test_what_is_wrong_in_two_images_does_not_cancel(classes, two):
    """The same picture twice, for opposite scores: their sum is 0 whatever the rules do."""
    model = homemade(head=nn.Linear(24, classes))
    model.blocks[1].mlp.insert(0, of(lambda x: x * x.var(-1, keepdim=True)))
    twice = IMAGES[:1].repeat(2, 1, 1, 1)
    with pytest.raises(ModelError, match="should add up to its score"):
        vitcam.explain(model, twice, "agcam(rules='libra')", targets=two, versus=two[::-1])
