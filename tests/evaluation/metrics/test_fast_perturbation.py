"""Perturbation curves are computed with fast linear layers, and are the same without them."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn

from vitcam.evaluation.metrics import probabilities
from vitcam.evaluation.metrics.perturbation import perturbation_curves


def test_fast_linear_is_used_and_gives_the_same(case, monkeypatch):
    entered = []
    fast_linear = probabilities.fast_linear
    monkeypatch.setattr(probabilities, "fast_linear", lambda: entered.append(True) or fast_linear())
    fast = perturbation_curves(case.model, case.images, case.heatmaps, case.targets)
    assert entered
    monkeypatch.setattr(probabilities, "fast_linear", nullcontext)
    plain = perturbation_curves(case.model, case.images, case.heatmaps, case.targets)
    torch.testing.assert_close(fast.morf, plain.morf, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast.lerf, plain.lerf, atol=1e-5, rtol=0)


class Keeping(nn.Module):
    """Keeps a tensor of its first pass for the next ones, as BEiT of Hugging Face keeps its relative positions."""

    def __init__(self, model):
        super().__init__()
        self.model, self.kept = model, None

    def forward(self, images):
        if self.kept is None:
            self.kept = torch.ones(1, device=images.device)
        return self.model(images) * self.kept


def test_a_model_that_keeps_a_tensor_can_be_trained_afterwards(case):
    model = Keeping(case.model)
    perturbation_curves(model, case.images, case.heatmaps, case.targets, steps=2)
    assert not model.kept.is_inference()
    images = case.images.clone().requires_grad_()
    model(images).sum().backward()
    assert images.grad.isfinite().all()
