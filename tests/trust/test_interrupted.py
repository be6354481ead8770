"""Whenever an explanation is interrupted, the model is afterwards as it was."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.overrides import TorchFunctionMode

import vitcam
from contract.test_contract import METHOD_NAMES, state_of
from small_models import hugging_face

IMAGES = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class Stop(BaseException):
    """As KeyboardInterrupt is, and what the app raises in its worker."""


class Interrupts(TorchFunctionMode):
    """Raises at the nth call of torch's, and counts them."""

    def __init__(self, at=None):
        super().__init__()
        self.at, self.calls = at, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.calls += 1
        if self.calls == self.at:
            raise Stop
        return function(*args, **(kwargs or {}))


def unfused():
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, num_heads=3, num_classes=4
    )
    for block in model.blocks:
        block.attn.fused_attn = False
    model.set_grad_checkpointing()
    return model.train()


def eager():
    options = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 24}
    model = hugging_face("ViTForImageClassification", "ViTConfig", image_size=32, **options)
    model.set_attn_implementation("eager")
    return model.train()


@pytest.mark.parametrize("build", [unfused, eager])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_at_calls_spread_over_a_whole_explanation(build, method):
    model = build()
    model.requires_grad_(True)
    next(model.parameters()).requires_grad_(False)
    before = state_of(model)
    stances = torch.compiler.set_stance  # looked up, so that the compiler is loaded
    with Interrupts() as all_of_them:
        vitcam.explain(build(), IMAGES, method, targets=1)
    assert state_of(model) == before
    step = max(1, all_of_them.calls // 6)
    stopped = 0
    for at in (1, *range(3, all_of_them.calls, step), all_of_them.calls):
        try:
            with Interrupts(at):
                vitcam.explain(model, IMAGES, method, targets=1)
        except Stop:
            stopped += 1
        assert state_of(model) == before, at
    assert stopped >= 2
    assert stances is torch.compiler.set_stance
    assert vitcam.explain(model, IMAGES, method, targets=1).heatmaps.isfinite().all()
    assert state_of(model) == before
