"""Attention that a model writes out itself explains like the same attention by torch's function."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vitcam
from small_models import HomemadeViT
from vitcam.errors import MethodError, ModelError


def by_torch(q, k, v, dropout):
    return F.scaled_dot_product_attention(q, k, v)


def as_in_dino(q, k, v, dropout):
    attn = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    attn = dropout(attn.softmax(dim=-1))
    return attn @ v


def as_in_lucidrains(q, k, v, dropout):
    dots = torch.matmul(q, k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    return torch.matmul(dropout(nn.Softmax(dim=-1)(dots)), v)


def as_in_einops(q, k, v, dropout):
    dots = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("b h i j, b h j d -> b h i d", torch.softmax(dots, dim=-1), v)


def as_in_cvt(q, k, v, dropout):
    dots = torch.einsum("bhlk,bhtk->bhlt", [q, k]) * q.shape[-1] ** -0.5
    return torch.einsum("bhlt,bhtv->bhlv", [dropout(torch.softmax(dots, dim=-1)), v])


def as_in_hugging_face(q, k, v, dropout):
    weights = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5
    weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(q.dtype)
    return torch.matmul(F.dropout(weights, p=0.1, training=dropout.training), v)


def by_batched_products(q, k, v, dropout):
    batch, heads, tokens, dim = q.shape
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    weights = torch.bmm(q * dim**-0.5, k.transpose(1, 2)).softmax(2)
    return torch.bmm(weights, v).view(batch, heads, tokens, dim)


WRITTEN_OUT = [as_in_dino, as_in_lucidrains, as_in_einops, as_in_cvt, as_in_hugging_face, by_batched_products]


IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
METHODS = ["agcam", "attention", "rollout", "gae", "gradsam", "legrad", "gradcam", "attnlrp"]


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("attend", WRITTEN_OUT)
def test_same_maps_as_by_torch(attend, pool):
    expected = vitcam.compare(HomemadeViT(by_torch, pool), IMAGES, METHODS, targets=[[0, 3], [1, 2]])
    ours = vitcam.compare(HomemadeViT(attend, pool).train(), IMAGES, METHODS, targets=[[0, 3], [1, 2]])
    for method in METHODS:
        torch.testing.assert_close(ours[method].heatmaps, expected[method].heatmaps, rtol=1e-4, atol=1e-6)
    alone = vitcam.explain(HomemadeViT(attend, pool), IMAGES, targets=[[0, 3], [1, 2]])
    torch.testing.assert_close(alone.heatmaps, expected["agcam"].heatmaps, rtol=1e-4, atol=1e-6)


def test_in_low_precision():
    expected = vitcam.explain(HomemadeViT(by_torch), IMAGES, "rollout").heatmaps
    for written_out in (as_in_dino, as_in_hugging_face):
        half = vitcam.explain(HomemadeViT(written_out).bfloat16(), IMAGES, "rollout").heatmaps
        autocast = vitcam.explain(HomemadeViT(written_out), IMAGES, "rollout", precision="bf16").heatmaps
        torch.testing.assert_close(half, expected, rtol=0.05, atol=0)
        torch.testing.assert_close(autocast, expected, rtol=0.05, atol=0)


def talking_heads(q, k, v, dropout):
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return weights.flip(1) @ v


def gated_in_place(q, k, v, dropout):
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    weights *= 0.5
    return weights @ v


def over_queries(q, k, v, dropout):
    return (q @ k.transpose(-2, -1)).softmax(-2) @ v


def of_other_channels(q, k, v, dropout):
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return (weights @ v) if weights.shape[1] == 1 else (v.transpose(-2, -1) @ weights).transpose(-2, -1)


@pytest.mark.parametrize("attend", [talking_heads, gated_in_place, over_queries, of_other_channels])
def test_what_is_no_softmax_times_values_is_not_taken_for_attention(attend):
    with pytest.raises(ModelError, match="no attention was seen: HomemadeViT never called torch's"):
        vitcam.explain(HomemadeViT(attend), IMAGES)


def test_lrp_says_that_it_needs_torchs_function():
    with pytest.raises(MethodError, match="writes its attention out"):
        vitcam.explain(HomemadeViT(as_in_dino), IMAGES, "lrp")
