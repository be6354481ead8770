"""Replays of the prefix tokens: for whom they work, and that they give what all tokens give."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F

from small_models import hugging_face, perturbed, timm_vit
from vitcam.methods import METHODS
from vitcam.recording import Need, Score, record
from vitcam.recording.replay import LinearRows

ROTARY = {
    "timm eva02": (
        partial(timm.create_model, "eva02_tiny_patch14_224", depth=3, img_size=112, global_pool="token"),
        112,
    ),
    "timm dinov3": (
        partial(timm.create_model, "vit_small_patch16_dinov3", depth=3, global_pool="token", num_classes=9),
        128,
    ),
    "hf dinov3": (partial(hugging_face, "DINOv3ViTModel", "DINOv3ViTConfig", num_register_tokens=4), 64),
}


def scores(output):
    return output.pooler_output[:, :3] if hasattr(output, "pooler_output") else output[:, :3]


def agcam(model, images, score, **options):
    recording = record(model, images, score, Need.SKIP_GRADIENT, **options)
    return recording.replayed, METHODS["agcam"].compute(recording)


@pytest.mark.parametrize("name", ROTARY)
def test_rotary_models_are_replayed(name):
    build, size = ROTARY[name]
    model, images = perturbed(build()), torch.randn(3, 3, size, size)
    replayed, maps = agcam(model, images, Score(function=scores))
    assert replayed
    expected = agcam(model, images, Score(function=scores), allow_replay=False)[1]
    assert expected.amax(dim=-1).min() > 0
    torch.testing.assert_close(maps, expected, atol=1e-5 * expected.max().item(), rtol=1e-4)


@pytest.fixture
def model():
    return perturbed(timm_vit())


def test_several_targets_take_one_backward_pass(model, monkeypatch):
    passes = []
    backward = torch.autograd.grad
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([[1, 2, 3], [3, 4, 5]])
    each = [agcam(model, images, Score(lambda logits, t=t: classes[:, t : t + 1]))[1] for t in range(3)]
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append(a) or backward(*a, **k))
    replayed, together = agcam(model, images, Score(lambda logits: classes))
    assert replayed
    assert len(passes) == 1
    torch.testing.assert_close(together, torch.cat(each, dim=1))


def test_scores_that_cannot_be_batched_are_taken_one_by_one(model):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, scores):
            return 2 * scores

        @staticmethod
        def backward(ctx, gradient):
            assert gradient.sum().item() > 0  # a value, which isn't there in a batch of gradients
            return 2 * gradient

    images = torch.randn(2, 3, 64, 64)
    replayed, maps = agcam(model, images, Score(function=lambda output: Doubled.apply(output[:, :2])))
    assert replayed
    torch.testing.assert_close(maps, 2 * agcam(model, images, Score(function=lambda o: o[:, :2]))[1])


@pytest.mark.parametrize("batch_first", [True, False])
def test_linear_layers_are_answered_from_their_recorded_rows(model, batch_first, monkeypatch):
    score = Score(lambda logits: logits.argmax(1, True))
    layout = record(model, torch.randn(2, 3, 64, 64), score, Need.NOTHING).layout
    rows, weight, bias = LinearRows(layout, batch=2), torch.randn(6, 4), torch.randn(6)
    first, second = torch.randn(2, 2, 17, 4).unbind(0)
    order = (0, 1) if batch_first else (1, 0)
    outputs = [rows.record(tokens.movedim((0, 1), order), weight, bias) for tokens in (first, second)]
    answer = rows.answers()

    prefix = second[:, :1].movedim((0, 1), order).clone().requires_grad_()
    monkeypatch.setattr(F, "linear", None)
    answer(first[:, :1].movedim((0, 1), order), weight, bias)
    answered = answer(prefix, weight, bias)
    torch.testing.assert_close(answered, outputs[1].narrow(order[1], 0, 1))
    direction = torch.randn_like(answered)
    torch.testing.assert_close(torch.autograd.grad(answered, prefix, direction)[0], direction @ weight)


def test_other_linear_layers_are_computed_in_a_replay(model):
    score = Score(lambda logits: logits.argmax(1, True))
    rows = LinearRows(record(model, torch.randn(2, 3, 64, 64), score, Need.NOTHING).layout, batch=2)
    weight, bias = torch.randn(6, 4), torch.randn(6)
    rows.record(torch.randn(2, 4), weight, bias)
    rows.record(torch.randn(2, 17, 4), weight, bias)
    answer = rows.answers()
    for value in (torch.randn(2, 4), torch.randn(1, 17, 4), torch.randn(2, 1, 4)):
        torch.testing.assert_close(answer(value, weight, bias), F.linear(value, weight, bias))


def test_tokens_that_mix_inside_a_block_are_noticed(model):
    """Answered linear layers can't hide it: the first replay of a model computes everything."""

    class Mixed(torch.nn.Module):
        def __init__(self, mlp):
            super().__init__()
            self.mlp = mlp

        def forward(self, tokens):
            return self.mlp(tokens + tokens.mean(dim=1, keepdim=True))

    model.blocks[1].mlp = Mixed(model.blocks[1].mlp)
    replayed, _ = agcam(model, torch.randn(2, 3, 64, 64), Score(lambda logits: logits.argmax(1, True)))
    assert not replayed
