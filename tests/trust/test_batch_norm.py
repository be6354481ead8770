"""Gradients through batch norms: torch gives wrong ones for a batch of one and a gradient laid out channels last."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vitcam


class Affine(nn.Module):
    """What a batch norm is in evaluation, as a product and a sum."""

    def __init__(self, norm):
        super().__init__()
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        self.scale = nn.Parameter(scale.detach()[:, None, None])
        self.shift = nn.Parameter((norm.bias - norm.running_mean * scale).detach()[:, None, None])

    def forward(self, x):
        return x * self.scale + self.shift


class Block(nn.Module):
    """Attention whose keys and values come from a convolution and a batch norm of the patches, as CvT's."""

    def __init__(self, width=16):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv2d(width, width, 1, groups=width)
        self.batch_norm = nn.BatchNorm2d(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        y = self.norm(x)
        patches = self.batch_norm(self.convolution(y[:, 1:].transpose(1, 2).unflatten(2, (4, 4))))
        y = torch.cat([y[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)
        q, k, v = (f(y).unflatten(2, (2, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Model(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


@pytest.fixture(scope="module")
def models():
    """A model with batch norms, and the same with what they compute written out."""
    torch.manual_seed(0)
    model = Model().eval()
    written = Model().eval()
    with torch.no_grad():
        for block in model.blocks:
            norm = block.batch_norm
            norm.weight.add_(torch.randn_like(norm.weight))
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    for block in written.blocks:
        block.batch_norm = nn.BatchNorm2d(16)
    written.load_state_dict(model.state_dict())
    for block in written.blocks:
        block.batch_norm = Affine(block.batch_norm)
    return model, written


@pytest.mark.parametrize("method", ["agcam", "gradcam", "gae", "legrad", "attnlrp", "captum:Saliency"])
def test_one_image_has_the_map_that_it_has_among_others(models, method):
    model, written = models
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    together = vitcam.explain(model, images, method, targets=2).heatmaps
    expected = vitcam.explain(written, images, method, targets=2).heatmaps
    scale = float(expected.abs().max())
    torch.testing.assert_close(together, expected, rtol=1e-3, atol=1e-4 * scale)
    for index in range(len(images)):
        alone = vitcam.explain(model, images[index : index + 1], method, targets=2).heatmaps
        torch.testing.assert_close(alone[0], expected[index], rtol=1e-3, atol=1e-4 * scale)
