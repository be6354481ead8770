"""The methods written naively: whole attention matrices, explicit softmax, plain products."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class Layer:
    scores: torch.Tensor  # (batch, heads, queries, keys), before the softmax
    maps: torch.Tensor  # after it; its .grad holds the gradient after backward()


@contextlib.contextmanager
def explicit_attention(layers: list[Layer], detach_first: int | None):
    """Every attention computed by hand. The first ``detach_first`` calls detach their inputs (None: none)."""
    fused, multi_head = F.scaled_dot_product_attention, F.multi_head_attention_forward

    def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        assert not is_causal
        assert not enable_gqa
        if detach_first is not None and len(layers) < detach_first:
            q, k, v = q.detach(), k.detach(), v.detach()
        scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            scores = scores + attn_mask
        maps = scores.softmax(-1)
        if not maps.requires_grad:
            maps.requires_grad_()
        maps.retain_grad()
        layers.append(Layer(scores.detach(), maps))
        return maps @ v

    def without_weights(*args, **kwargs):
        return multi_head(*args, **{**kwargs, "need_weights": False})

    F.scaled_dot_product_attention, F.multi_head_attention_forward = attention, without_weights
    try:
        yield
    finally:
        F.scaled_dot_product_attention, F.multi_head_attention_forward = fused, multi_head


def agcam(model, images, score, block_layers, patches):
    """Σ over layers, heads and query rows of ReLU(∂y/∂A) · sigmoid(S), attention inputs detached."""
    layers: list[Layer] = []
    with explicit_attention(layers, detach_first=block_layers), torch.enable_grad():
        score(model(images)).sum().backward()
    total = 0
    for layer in layers:
        if layer.maps.grad is None:  # the score doesn't depend on this layer
            continue
        total = total + (layer.maps.grad.relu() * layer.scores.sigmoid()).sum(dim=(1, 2))
    return total[:, patches]


def attention_maps(model, images):
    """The attention maps of all layers, mean over heads."""
    layers: list[Layer] = []
    with explicit_attention(layers, detach_first=None), torch.enable_grad():
        model(images)
    return [layer.maps.detach().mean(dim=1) for layer in layers]


def rollout(maps, start):
    """start · Π (A + I)/2 with whole matrices; a map with fewer queries than keys is filled up with I."""
    tokens = maps[0].shape[-1]
    product = torch.eye(tokens).expand(len(maps[0]), -1, -1)
    for layer in maps:
        whole = torch.eye(tokens).repeat(len(layer), 1, 1)
        whole[:, : layer.shape[1]] = layer
        product = (whole + torch.eye(tokens)) / 2 @ product
    return (start[:, None] @ product)[:, 0]
