"""Perturbation curves are computed with fast linear layers, and are the same without them."""

from __future__ import annotations

from contextlib import nullcontext

import torch

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
