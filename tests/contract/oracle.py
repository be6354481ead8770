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
        assert not enable_gqa
        if detach_first is not None and len(layers) < detach_first:
            q, k, v = q.detach(), k.detach(), v.detach()
        scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            scores = scores + attn_mask
        if is_causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
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


def agcam(
    model,
    images,
    score,
    block_layers,
    patches,
    normalize=torch.sigmoid,
    detach=True,
    positive=True,
    layers=slice(None),
):
    """Σ over layers, heads and query rows of ReLU(∂y/∂A) · sigmoid(S), attention inputs detached."""
    recorded = gradients(model, images, score, block_layers if detach else None)[layers]
    total = 0
    for layer in recorded:
        weight = layer.maps.grad.relu() if positive else layer.maps.grad
        total = total + (weight * normalize(layer.scores)).sum(dim=(1, 2))
    return total[:, patches]


def tempercam(model, images, score, block_layers, patches, power=0.5, positive=True, layers=None):
    """Σ over heads, query rows and the upper half of the layers of ReLU(∂y/∂A) · A^power, inputs detached."""
    total, recorded = 0, gradients(model, images, score, block_layers)
    for layer in recorded[slice(len(recorded) // 2, None) if layers is None else layers]:
        weight = layer.maps.grad.relu() if positive else layer.maps.grad
        total = total + torch.einsum("bhij,bhij->bj", weight, layer.maps.detach() ** power)
    return total[:, patches]


def gradients(model, images, score, detach_first=None):
    """The attention layers that a score depends on, with the gradients of their maps."""
    layers: list[Layer] = []
    with explicit_attention(layers, detach_first), torch.enable_grad():
        score(model(images)).sum().backward()
    return [layer for layer in layers if layer.maps.grad is not None]


def gradsam(model, images, score):
    """Mean over layers, heads and query rows of ReLU(∂y/∂A) · A."""
    layers = gradients(model, images, score)
    return sum((layer.maps.grad.relu() * layer.maps).mean(dim=(1, 2)) for layer in layers) / len(layers)


def gradsam_of_the_head(model, images, score, start, pools):
    """The same of the rows of ``start`` only, or of the only row."""
    layers = gradients(model, images, score)
    rows = [(layer.maps.grad.relu() * layer.maps).mean(dim=1) for layer in layers]
    shares = [start[: row.shape[1]] for row in rows]
    if pools:
        shares[-1] = torch.full((rows[-1].shape[1],), 1 / rows[-1].shape[1])
    return sum((share[:, None] * row).sum(dim=1) for share, row in zip(shares, rows, strict=True)) / len(rows)


def gae(model, images, score, start, pools, start_layer=0):
    """R ← R + mean_h ReLU(∂y/∂A · A) R with whole matrices, from the identity; then the row, and less the I."""
    layers = gradients(model, images, score)
    # In double precision, since the I is a million times as large as what is added to it.
    bars = [(layer.maps.grad * layer.maps).relu().mean(dim=1).double() for layer in layers]
    tokens = bars[0].shape[-1]
    identity = torch.eye(tokens, dtype=torch.double)
    relevance = identity.expand(len(images), -1, -1)
    for bar in (bars[:-1] if pools else bars)[start_layer:]:
        whole = torch.zeros(len(bar), tokens, tokens, dtype=torch.double)
        whole[:, : bar.shape[1]] = bar
        relevance = relevance + whole @ relevance
    if pools:
        return (bars[-1] @ relevance).mean(dim=1).float()
    return (start.double() @ (relevance - identity)).squeeze(1).float()


def cams(model, images, score, norm, patches):
    """The CAM family at the output of a norm, over patch tokens, image by image."""
    kept = []

    def keep(module, args, output):
        output.requires_grad_().retain_grad()
        kept.append(output)

    handle = model.get_submodule(norm).register_forward_hook(keep)
    with torch.enable_grad():
        score(model(images)).sum().backward()
    handle.remove()
    per_image = [
        cams_of_one(*pair)
        for pair in zip(kept[0].detach()[:, patches].double(), kept[0].grad[:, patches].double(), strict=True)
    ]
    return {name: torch.stack([each[name] for each in per_image]).float() for name in per_image[0]}


def cams_of_one(a, g):
    """From activations and gradients (patches, channels), as the papers' formulas read."""
    sums = a.sum(0)
    alpha = torch.where(g == 0, 0, g * g / (2 * g * g + g**3 * sums + 1e-6))
    return {
        "gradcam": (a @ g.mean(0)).relu(),
        "gradcam++": (a @ (alpha * g.relu()).sum(0)).relu(),
        "xgradcam": (a @ ((g * a).sum(0) / (sums + 1e-7))).relu(),
        "layercam": (g.relu() * a).sum(1).relu(),
        "hirescam": (g * a).sum(1),
        "eigencam": largest_positive(principal(a)),
        "eigengradcam": rising_with(principal(g * a), (g * a).sum(1)),
        "gradcam(smooth='eigen')": rising_with(principal(a * g.mean(0)), a @ g.mean(0)).relu(),
    }


def principal(x):
    centred = x - x.mean(0)
    return centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]


def largest_positive(component):
    return component * component[component.abs().argmax()].sign()


def rising_with(component, other):
    return component * torch.corrcoef(torch.stack([component, other]))[0, 1].sign()


def legrad(model, images, blocks, attention_index, head, patches, pools=False):
    """Σ over blocks of mean ReLU(∂y_l/∂A_l), where y_l = head(tokens that leave block l).

    Args:
        blocks: the blocks' names.
        attention_index: for each block the number of its attention call.
        head: from tokens to scores, by hand.
        pools: whether the head's own attention is looked at instead.
    """
    kept, layers = [], list[Layer]()
    handles = [
        model.get_submodule(name).register_forward_hook(lambda m, args, output: kept.append(output))
        for name in blocks
    ]
    total = 0
    with explicit_attention(layers, None), torch.enable_grad():
        model(images)
        for handle in handles:
            handle.remove()
        for tokens, index in zip(list(kept), attention_index, strict=True):
            score = head(tokens[0] if isinstance(tokens, tuple) else tokens)
            layer = layers[-1] if pools else layers[index]
            (gradient,) = torch.autograd.grad(score.sum(), layer.maps, retain_graph=True)
            total = total + gradient.relu().mean(dim=(1, 2))
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


def rollout_of_one(maps, fuse, discard_ratio):
    """One image's rollout by lists and loops, for a model with a class token. ``maps``: (heads, N, N) each."""
    tokens = maps[0].shape[-1]
    product = torch.eye(tokens)
    for heads in maps:
        fused = torch.tensor(
            [[fuse([head[i][j] for head in heads.tolist()]) for j in range(tokens)] for i in range(tokens)]
        )
        places = sorted(range(tokens * tokens), key=lambda place: fused.flatten()[place].item())
        for place in places[: int(tokens * tokens * discard_ratio)]:
            if place != 0:
                fused[place // tokens, place % tokens] = 0
        step = (fused + torch.eye(tokens)) / 2
        product = step / step.sum(dim=1, keepdim=True) @ product
    return product[0]
