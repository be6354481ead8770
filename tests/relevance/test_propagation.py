"""The context: the model computes what it computes without, and nothing is left behind."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from relevance_models import (
    FAMILIES,
    hugging_face_clip,
    logits_of,
    propagated,
    random_images,
    timm_vit,
    torchvision_vit,
)
from torch import Tensor, nn

from vitcam.errors import MethodError, ModelError
from vitcam.methods.relevance import CHEFER, attnlrp_rules, trace


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start_layer", [None, 0, 1])
def test_outputs_and_gradients_are_the_models_own(family: str, start_layer: int | None) -> None:
    model, images = FAMILIES[family]().double(), random_images().double()
    traced = trace(model, images, CHEFER if start_layer is not None else attnlrp_rules(), start_layer)
    leaf = images.clone().requires_grad_()
    logits = logits_of(model(leaf))
    torch.testing.assert_close(logits_of(traced.output), logits)
    if start_layer is None:
        (expected,) = torch.autograd.grad(logits[:, 3].sum(), leaf)
        (found,) = traced.gradient(logits_of(traced.output)[:, 3], [traced.images])
        torch.testing.assert_close(found, expected)
    assert len(traced.attentions) == (4 if family == "timm_siglip" else 3)


def state(model: nn.Module) -> tuple[object, ...]:
    modules = list(model.modules())
    return (
        [(name, p.requires_grad, p.grad, p._version) for name, p in model.named_parameters()],
        [(name, b._version) for name, b in model.named_buffers()],
        [
            (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in modules
        ],
        [dict(vars(m)).keys() for m in modules],
        {name: vars(F)[name] for name in ("linear", "gelu", "layer_norm", "scaled_dot_product_attention")},
        torch.nn.Module.__call__,
        torch.nn.LayerNorm.forward,
        Tensor.__add__,
        torch.is_grad_enabled(),
        torch.overrides._len_torch_function_stack(),
    )


@pytest.mark.parametrize("make", [timm_vit, torchvision_vit, hugging_face_clip])
def test_leaves_the_model_and_torch_as_they_were(make) -> None:
    model, images = make(), random_images()
    next(model.parameters()).requires_grad_(False)
    before = state(model)
    for rules, start_layer in ((CHEFER, 0), (attnlrp_rules(), None)):
        traced = trace(model, images, rules, start_layer)
        at = [traced.images] if start_layer is None else [layer.output for layer in traced.attentions]
        traced.relevance(logits_of(traced.output)[:, 0], at)
        traced.gradient(logits_of(traced.output)[:, 0], at)
        assert state(model) == before
    torch.testing.assert_close(images, random_images())
    assert not images.requires_grad


def test_leaves_them_so_after_an_exception() -> None:
    model = timm_vit()
    model.head.register_forward_hook(lambda *_: 1 / 0)
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        trace(model, random_images(), CHEFER, 0)
    assert state(model) == before


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(context) -> None:
    model, images = timm_vit(), random_images()
    expected = trace(model, images, CHEFER, 0)
    with context():
        found = trace(model, images * 1, CHEFER, 0)
    for wanted, traced in ((expected, expected), (found, found)):
        assert wanted.output.requires_grad
        (relevance,) = traced.relevance(traced.output[:, 0], [traced.attentions[0].output])
        assert relevance.abs().sum() > 0
    torch.testing.assert_close(found.output, expected.output)


def test_other_threads_compute_as_ever() -> None:
    inside, done = threading.Event(), threading.Event()
    seen: list[Tensor] = []

    def elsewhere() -> None:
        inside.wait(10)
        x = torch.ones(3, requires_grad=True)
        seen.append(torch.autograd.grad(F.gelu(x).sum(), x)[0])
        seen.append(F.gelu(x).grad_fn.name())
        done.set()

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            inside.set()
            assert done.wait(10)
            return F.gelu(x)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    traced = trace(Model(), torch.ones(1, 3), CHEFER)
    thread.join()
    assert seen[1] == "GeluBackward0"
    assert traced.output.grad_fn.name() == "_RuledBackward"


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"kdim": 6, "vdim": 5}])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_multi_head_attention_is_torchs(settings: dict, need_weights: bool, average: bool) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64, **settings).eval()
    nn.init.normal_(module.out_proj.weight)
    mask = torch.randn(3, 4, dtype=torch.float64)
    padding = torch.tensor([[False, False, True, False], [False] * 4])
    other = torch.randn(2, 4, settings.get("kdim", 8), dtype=torch.float64)
    values = torch.randn(2, 4, settings.get("vdim", 8), dtype=torch.float64)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            result: tuple[Tensor, Tensor | None] = self.module(
                x, other, values, padding, need_weights, mask, average_attn_weights=average
            )
            return result

    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    traced = trace(Model(), x, CHEFER)
    expected, weights = Model()(x)
    torch.testing.assert_close(traced.output[0], expected)
    torch.testing.assert_close(traced.output[1], weights)
    (found,) = traced.gradient(traced.output[0].cos().flatten(1).sum(1), [traced.images])
    torch.testing.assert_close(found, torch.autograd.grad(expected.cos().sum(), x)[0])


def test_multi_head_attention_with_extra_keys_is_refused() -> None:
    module = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    with pytest.raises(ModelError, match="without add_bias_kv, add_zero_attn and static keys only"):
        propagated(lambda x: module(x, x, x)[0], torch.randn(2, 3, 8), torch.randn(2, 3, 8), CHEFER)


def test_the_native_fast_path_is_not_taken() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True).eval()
    x = torch.randn(2, 3, 8)
    traced = trace(layer, x, CHEFER, 0)
    assert len(traced.attentions) == 1
    with torch.inference_mode():
        torch.testing.assert_close(traced.output.detach(), layer(x))


def test_writing_over_an_output_is_allowed() -> None:
    def careless(x: Tensor) -> Tensor:
        y = F.linear(x, torch.eye(4) * 2, torch.ones(4))
        y *= 3
        y[:, 0] = 0
        return F.linear(y, torch.eye(4) + 1)

    def careful(x: Tensor) -> Tensor:
        y = F.linear(x, torch.eye(4) * 2, torch.ones(4)) * 3
        return F.linear(torch.cat([torch.zeros(2, 1), y[:, 1:]], 1), torch.eye(4) + 1)

    x, relevance = torch.rand(2, 4) + 0.1, torch.randn(2, 4)
    for rules in (CHEFER, attnlrp_rules()):
        torch.testing.assert_close(
            propagated(careless, x, relevance, rules), propagated(careful, x, relevance, rules)
        )


def test_writing_over_an_input_is_refused() -> None:
    def function(x: Tensor) -> Tensor:
        x = x * 1
        y = F.linear(x, torch.eye(4))
        x[:, 0] = 7
        return y + x

    with pytest.raises(MethodError, match="overwrites in place a tensor that linear has read"):
        propagated(function, torch.rand(2, 4), torch.randn(2, 4), CHEFER)


def test_parameters_get_no_gradient_and_no_graph() -> None:
    model = timm_vit()
    traced = trace(model, random_images(), CHEFER, 0)
    traced.output.sum().backward()
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
