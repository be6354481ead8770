"""The method ``attnlrp``: against the authors' package ``lxt``, and what it conserves."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import lxt_reference
import pytest
import torch
from relevance_models import (
    hugging_face_vit,
    logits_of,
    random_images,
    randomized,
    timm_vit,
    torchvision_vit,
)
from safetensors.torch import load_file
from torch import Tensor, nn

from vitcam.methods.attnlrp import input_relevance, patch_relevance
from vitcam.methods.relevance import RuleSet, attnlrp_rules, trace
from vitcam.types import PatchGrid


def relevance_of(model: nn.Module, images: Tensor, rules: RuleSet) -> Tensor:
    traced = trace(model, images, rules)
    return input_relevance(traced, logits_of(traced.output)[:, 3])


@pytest.mark.skipif(
    importlib.util.find_spec("lxt") is None, reason="the reference package lxt isn't installed"
)
@pytest.mark.parametrize(
    ("make", "through_softmax"),
    [(torchvision_vit, False), (hugging_face_vit, True)],
    ids=["torchvision", "hugging_face"],
)
def test_is_lxt(make, through_softmax: bool, tmp_path: Path) -> None:
    """In a process of its own: lxt patches classes for good. Both in double precision, so up to their ε only."""
    script, results = Path(__file__).with_name("lxt_reference.py"), tmp_path / "lxt.safetensors"
    which = make.__name__.removesuffix("_vit")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, script, results, which], capture_output=True, text=True, env=environment
    )
    if run.returncode == lxt_reference.CANNOT_IMPORT:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stderr
    expected = load_file(results)
    model, images = make().double(), random_images().double()
    for name, gammas in (("epsilon", (0.0, 0.0)), ("gamma", (0.25, 0.05))):
        found = relevance_of(model, images, attnlrp_rules(*gammas, through_softmax=through_softmax))
        assert (found - expected[name]).abs().max() < 1e-4 * expected[name].abs().max()
        assert torch.corrcoef(torch.stack([found.flatten(), expected[name].flatten()]))[0, 1] > 0.99999
    assert not torch.allclose(expected["epsilon"], expected["gamma"])


def without_constants(model: nn.Module) -> nn.Module:
    """No bias, class token or position embedding that could take relevance."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "token" in name or "pos_embed" in name:
                parameter.zero_()
    return model.double()


@pytest.mark.parametrize("gammas", [(0.0, 0.0), (0.25, 0.05)])
def test_relevance_is_conserved_where_nothing_absorbs_it(gammas: tuple[float, float]) -> None:
    model, images = without_constants(timm_vit()), random_images().double()
    traced = trace(model, images, attnlrp_rules(*gammas, through_softmax=False))
    scores = traced.output[:, 3]
    found = input_relevance(traced, scores).sum((1, 2, 3))
    torch.testing.assert_close(found, scores.detach(), rtol=1e-3, atol=1e-6)


def test_explicit_attention_is_fused_attention() -> None:
    model, images = timm_vit(qk_norm=True).double(), random_images().double()
    expected = relevance_of(model, images, attnlrp_rules())
    for block in model.blocks:
        block.attn.fused_attn = False
    torch.testing.assert_close(relevance_of(model, images, attnlrp_rules()), expected)


def test_hugging_faces_eager_attention_is_fused_attention() -> None:
    model, images = hugging_face_vit().double(), random_images().double()
    expected = relevance_of(model, images, attnlrp_rules())
    model.set_attn_implementation("eager")
    torch.testing.assert_close(relevance_of(model, images, attnlrp_rules()), expected)


def test_patches_sum_their_pixels_and_channels() -> None:
    relevance = torch.zeros(1, 3, 8, 12)
    relevance[0, :, 5, 7] = torch.tensor([1.0, 2.0, -0.5])
    relevance[0, 0, 4, 4] = 1
    found = patch_relevance(relevance, PatchGrid(height=2, width=3, prefix=1))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0, 0, 0, 3.5, 0]]))


def test_a_pruned_token_has_no_relevance() -> None:
    """Relevance follows the values: the patch that the model leaves out gets none."""

    class Pruned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = randomized(timm_vit())

        def forward(self, images: Tensor) -> Tensor:
            x = self.vit.patch_embed(images)
            x = self.vit.blocks(x[:, 1:] + self.vit.pos_embed[:, 2:])
            return self.vit.head(x.mean(1))

    grid = PatchGrid(height=4, width=4, prefix=0)
    maps = patch_relevance(relevance_of(Pruned().eval(), random_images(), attnlrp_rules()), grid)
    assert (maps[:, 0] == 0).all()
    assert (maps[:, 1:] != 0).all()
