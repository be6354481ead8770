"""Grad-CAM refuses a map that is zero because no gradient reaches the patches; one that the ReLU emptied stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import vitcam
from small_models import HomemadeViT
from vitcam.errors import MethodError

IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
NO_MAP = (
    r"doesn't depend on the patches at the first norm of its last block .*exactly zero.*post-norm.*agcam, gae"
)


class EncoderLayers(HomemadeViT):
    """With the blocks that torch has."""

    def __init__(self, norm_first, pool="class"):
        super().__init__(pool=pool)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(24, 3, 48, batch_first=True, norm_first=norm_first) for _ in range(3)
        )


def test_post_norm_blocks_with_a_class_token():
    model = EncoderLayers(norm_first=False).eval()
    for targets in (None, [0, 4], [[1, 2], [2, 1]]):
        with pytest.raises(MethodError, match=NO_MAP):
            vitcam.explain(model, IMAGES, "gradcam", targets=targets)
    with pytest.raises(MethodError, match="the score that `targets` computes doesn't depend on the patches"):
        vitcam.explain(model, IMAGES, "gradcam", targets=lambda logits: logits[:, 0])
    for method in ("agcam", "gae", "legrad"):
        assert (vitcam.explain(model, IMAGES, method).heatmaps.flatten(2).amax(2) > 0).all()


class Tokens(EncoderLayers):
    """Gives all tokens."""

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x


def test_one_of_several_scores_suffices():
    def of_all(tokens):
        return tokens.pow(3).mean(1)[:, 0]

    def of_the_class_token(tokens):
        return tokens[:, 0, 0]

    assert vitcam.explain(Tokens(norm_first=False), IMAGES, "gradcam", targets=of_all).heatmaps.amax() > 0
    with pytest.raises(MethodError, match=NO_MAP):
        vitcam.explain(
            Tokens(norm_first=False),
            IMAGES,
            "gradcam",
            targets=lambda tokens: torch.stack([of_all(tokens), of_the_class_token(tokens)], dim=1),
        )


@pytest.mark.parametrize(("norm_first", "pool"), [(True, "class"), (True, "mean"), (False, "mean")])
def test_where_the_gradient_reaches_the_patches_there_is_a_map(norm_first, pool):
    model = EncoderLayers(norm_first, pool)
    maps = vitcam.explain(model, IMAGES, "gradcam", targets=[[0, 1, 2, 3, 4]] * 2).heatmaps
    assert maps.amax() > 0


def test_a_map_that_the_relu_emptied_is_one():
    """Every patch speaks against the class."""
    model = HomemadeViT(pool="mean").eval()
    for block in model.blocks:
        nn.init.zeros_(block.mlp[1].weight)
        nn.init.zeros_(block.mlp[1].bias)
    norm = model.blocks[-1].norm
    nn.init.constant_(norm.weight, 0.01)
    nn.init.ones_(norm.bias)
    with torch.no_grad():  # every activation is nearly 1, so that the map has the sign of the gradients' sum
        found = {c: vitcam.explain(model, IMAGES, "gradcam", targets=c).heatmaps for c in range(5)}
    empty = [float(maps.max()) == 0 for maps in found.values()]
    assert any(empty)
    assert not all(empty)


def test_weights_that_are_normalised_are_no_norm():
    model = HomemadeViT()
    expected = HomemadeViT()
    for each in (model, expected):
        each.eval()
    for block in model.blocks:
        block.qkv = nn.utils.parametrizations.weight_norm(block.qkv)
        block.norm, block.first = block.norm, nn.utils.parametrizations.weight_norm(nn.Linear(1, 1))
    maps = vitcam.explain(model, IMAGES, "gradcam", targets=1).heatmaps
    torch.testing.assert_close(
        maps, vitcam.explain(expected, IMAGES, "gradcam", targets=1).heatmaps, rtol=1e-4, atol=1e-6
    )
    for block in model.blocks:
        block.norm = nn.Identity()
    with pytest.raises(MethodError, match=NO_MAP):
        vitcam.explain(model, IMAGES, "gradcam")
