"""Chefer's transformer attribution written straight from its rules, on a plain ViT, with all N×N maps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def safe_divide(a: Tensor, b: Tensor) -> Tensor:
    denominator = b.clamp(min=1e-9) + b.clamp(max=1e-9)
    denominator = torch.where(denominator == 0, 1e-9, denominator)
    return torch.where(b != 0, a / denominator, 0)


def linear(x: Tensor, weight: Tensor, relevance: Tensor) -> Tensor:
    x_p, x_n, w_p, w_n = x.clamp(min=0), x.clamp(max=0), weight.clamp(min=0), weight.clamp(max=0)
    s = safe_divide(relevance, x_p @ w_p.T + x_n @ w_n.T)
    return x_p * (s @ w_p) + x_n * (s @ w_n)


def add(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """For one image."""
    s = safe_divide(relevance, a + b)
    r_a, r_b = a * s, b * s
    alpha, beta, total = r_a.sum().abs(), r_b.sum().abs(), relevance.sum()
    r_a = r_a * safe_divide(safe_divide(alpha, alpha + beta) * total, r_a.sum())
    r_b = r_b * safe_divide(safe_divide(beta, alpha + beta) * total, r_b.sum())
    return r_a, r_b


def attention(q: Tensor, k: Tensor, v: Tensor, weights: Tensor, relevance: Tensor) -> tuple[Tensor, ...]:
    """R_A, R_q, R_k, R_v."""
    s = safe_divide(relevance, weights @ v)
    r_a, r_v = weights * (s @ v.mT) / 2, v * (weights.mT @ s) / 2
    s = safe_divide(r_a, q @ k.mT)
    return r_a, q * (s @ k) / 2, k * (s.mT @ q) / 2, r_v


def forward(model: Any, image: Tensor) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
    """A plain timm ViT with explicit attention; logits, last tokens and all that the rules need."""
    x = model.patch_embed(image[None])
    x = torch.cat([model.cls_token, x], 1) + model.pos_embed
    blocks = []
    for block in model.blocks:
        seen = {"x": x, "h": block.norm1(x)}
        qkv = block.attn.qkv(seen["h"]).unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        seen["q"], seen["k"], seen["v"] = qkv
        weights = (seen["q"] @ seen["k"].mT * seen["q"].shape[-1] ** -0.5).softmax(-1)
        weights.retain_grad()
        seen["weights"] = weights
        seen["o"] = (weights @ seen["v"]).transpose(1, 2).flatten(2)
        seen["attended"] = block.attn.proj(seen["o"])
        x = seen["y"] = x + seen["attended"]
        seen["h2"] = block.norm2(x)
        seen["f"] = F.gelu(block.mlp.fc1(seen["h2"]))
        seen["mlp"] = block.mlp.fc2(seen["f"])
        x = x + seen["mlp"]
        blocks.append(seen)
    x = model.norm(x)
    pooled = x[:, 1:].mean(1) if model.global_pool == "avg" else x[:, 0]
    return model.head(pooled), x, blocks


def transformer_attribution(model: Any, image: Tensor, target: int, start_layer: int = 0) -> Tensor:
    """One image's map over all tokens, for a model with a class token that the head reads."""
    logits, last, blocks = forward(model, image)
    logits[0, target].backward()
    with torch.no_grad():
        r = torch.zeros_like(last)
        one_hot = torch.zeros_like(logits)
        one_hot[0, target] = 1
        r[:, 0] = linear(last[:, 0], model.head.weight, one_hot)
        maps = []
        for block, seen in zip(reversed(model.blocks), reversed(blocks), strict=True):
            r, r_mlp = add(seen["y"], seen["mlp"], r)
            r = r + linear(seen["h2"], block.mlp.fc1.weight, linear(seen["f"], block.mlp.fc2.weight, r_mlp))
            r, r_attended = add(seen["x"], seen["attended"], r)
            r_o = linear(seen["o"], block.attn.proj.weight, r_attended)
            r_o = r_o.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2)
            r_a, *r_qkv = attention(seen["q"], seen["k"], seen["v"], seen["weights"], r_o)
            assert seen["weights"].grad is not None
            maps.append((seen["weights"].grad * r_a).clamp(min=0).mean(1)[0])
            r = r + linear(
                seen["h"], block.attn.qkv.weight, torch.stack(r_qkv).permute(1, 3, 0, 2, 4).flatten(2)
            )
        product = torch.eye(last.shape[1], dtype=last.dtype)
        for weights in maps[: len(maps) - start_layer]:
            product = product @ (weights + torch.eye(last.shape[1], dtype=last.dtype))
    return product[0]
