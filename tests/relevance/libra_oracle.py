"""LibraGrad and CP-LRP written out on one small model: what is held constant is detached, the rest is autograd."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class ByHand:
    """A forward pass of ``small_models.HomemadeViT`` by plain arithmetic.

    Attributes:
        rules: "plain", "libra" or "cp-lrp".
        entering: the tokens that enter each block, and those that leave the last.
        scores, maps: attention before the softmax, and behind it.
        qkv: queries, keys and values, heads side by side.
        passed: the values of each token behind the projection, without its bias.
        between: the tokens in front of each MLP.
        norms: what each block's first norm gives.
        biases: each bias with what it was added to.
        along_skips: whether nothing goes back through attention's inputs.
    """

    model: nn.Module
    rules: str
    along_skips: bool = False
    entering: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    qkv: list[tuple[Tensor, ...]] = field(default_factory=list)
    passed: list[Tensor] = field(default_factory=list)
    between: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    biases: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __call__(self, images: Tensor) -> Tensor:
        model = self.model
        x = nn.functional.conv2d(images, model.patches.weight, model.patches.bias, stride=8)
        x = torch.cat([model.class_token.expand(len(x), 1, -1), x.flatten(2).mT], dim=1).detach()
        for block in model.blocks:
            self.entering.append(x.requires_grad_() if not self.entering else x)
            self.norms.append(self._norm(x, block.norm))
            entered = self.norms[-1].detach() if self.along_skips else self.norms[-1]
            self.qkv.append(self._linear(entered, block.qkv).chunk(3, dim=-1))
            q, k, v = (t.unflatten(-1, (block.heads, -1)).transpose(1, 2) for t in self.qkv[-1])
            v = v.detach() if self.along_skips else v
            self.scores.append(q @ k.mT / math.sqrt(q.shape[-1]))
            a = self.scores[-1].softmax(-1)
            constant = self.rules != "plain" or self.along_skips
            self.maps.append(a.detach().requires_grad_() if constant else a)
            self.passed.append(self.qkv[-1][2] @ block.out.weight.T)
            x = x + self._linear((self.maps[-1] @ v).transpose(1, 2).flatten(2), block.out)
            self.between.append(x)
            hidden = self._linear(self._norm(x, block.mlp[0]), block.mlp[1])
            gate = (1 + torch.erf(hidden / math.sqrt(2))) / 2
            x = x + hidden * (gate.detach() if self.rules == "libra" else gate)
        self.entering.append(x)
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        """What the head says of tokens."""
        return self._linear(x[:, 0] if self.model.pool == "class" else x[:, 1:].mean(1), self.model.head)

    def _linear(self, x: Tensor, layer: nn.Linear) -> Tensor:
        return self._with_bias(x @ layer.weight.T, layer.bias)

    def _norm(self, x: Tensor, layer: nn.LayerNorm) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        return self._with_bias(
            centred / (deviation if self.rules == "plain" else deviation.detach()) * layer.weight, layer.bias
        )

    def _with_bias(self, x: Tensor, bias: Tensor) -> Tensor:
        z = x + bias
        self.biases.append((bias, z))
        return z


def naive(model: nn.Module, images: Tensor, target: int, rules: str) -> dict[str, Tensor]:
    """What the methods give for one target, over all tokens, and ``rest``: what belongs to no token."""
    hand = ByHand(model, rules)
    logits = hand(images)
    score = logits[:, target].sum()

    def gradient(of: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(score, of, retain_graph=True)
        return found

    ixg = [(x * gradient(x)).sum(-1) for x in hand.entering]
    biases = [(bias * gradient(z)).sum(-1) for bias, z in hand.biases]
    of_tokens = sum(each for each in biases if each.ndim == 2)
    bars = [(a * gradient(a)).relu() for a in hand.maps]
    tokens = bars[0].shape[-1]
    relevance = torch.eye(tokens, dtype=images.dtype).expand(len(images), -1, -1)
    for bar in bars:
        relevance = relevance + bar.mean(1) @ relevance
    rows = [0] if model.pool == "class" else list(range(1, tokens))
    last, weights = hand.norms[-1][:, 1:], gradient(hand.norms[-1])[:, 1:].mean(1, keepdim=True)
    return {
        **{f"ixg {layer}": each for layer, each in enumerate(ixg)},
        "fullgrad": sum(ixg[:-1]) + of_tokens,
        "fullgrad of the first": ixg[0] + of_tokens,
        "gae": (relevance - torch.eye(tokens, dtype=images.dtype))[:, rows].mean(1),
        "gradsam": torch.stack([bar.mean((1, 2)) for bar in bars]).mean(0),
        "gradcam": nn.functional.pad((weights * last).sum(-1).relu(), (1, 0)),
        **_of_features(hand, logits, target, last),
        **_of_layers(hand, target),
        **_along_skips(model, images, target, rules, rows),
        "tokentm": _tokentm(hand, bars, rows),
        "rest": sum(each for each in biases if each.ndim == 1),
        "score": logits[:, target],
    }


def _gradient(score: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(score.sum(), of, retain_graph=True)
    return found


def _with_prefix(patches: Tensor) -> Tensor:
    return nn.functional.pad(patches, (1, 0))


def _of_features(hand: ByHand, logits: Tensor, target: int, last: Tensor) -> dict[str, Tensor]:
    others = [other for other in range(logits.shape[1]) if other != target]
    nearest = (logits[:, others] - logits[:, [target]]).abs().argsort(1)[:, :3]
    compared = logits[:, others].gather(1, nearest)
    shares = compared.softmax(1)
    finer = _gradient((shares * (logits[:, [target]] - compared)).sum(1), hand.norms[-1])[:, 1:]
    products = last * _gradient(logits[:, target], hand.norms[-1])[:, 1:]
    centred = (products - products.mean(1, keepdim=True)).detach()
    component = torch.stack([each @ torch.linalg.svd(each).Vh[0] for each in centred])
    sign = (component * centred.sum(-1)).sum(1, keepdim=True).sign()
    return {
        "finercam": _with_prefix((finer.mean(1, keepdim=True) * last).sum(-1).relu()),
        "eigengradcam": _with_prefix(component * sign),
    }


def _of_layers(hand: ByHand, target: int) -> dict[str, Tensor]:
    of_mean, of_head = [], []
    for tokens, maps in zip(hand.entering[1:], hand.maps, strict=True):
        mean = tokens.mean(1, keepdim=True).expand_as(tokens)
        for read, found in ((mean, of_mean), (tokens, of_head)):
            found.append(_gradient(hand.head(read)[:, target], maps).relu().mean((1, 2)))
    return {"legrad": sum(of_mean), "legrad of the head": sum(of_head)}


def _along_skips(
    model: nn.Module, images: Tensor, target: int, rules: str, rows: list[int]
) -> dict[str, Tensor]:
    hand = ByHand(model, rules, along_skips=True)
    score = hand(images)[:, target]
    gradients = [_gradient(score, maps) for maps in hand.maps]
    of_scores = [g.relu() * s.sigmoid() for g, s in zip(gradients, hand.scores, strict=True)]
    of_maps = [g.relu() * a.sqrt() for g, a in zip(gradients, hand.maps, strict=True)]
    query, key, _ = hand.qkv[-1]
    unit = nn.functional.normalize
    cosine = unit(query, dim=-1) @ unit(key, dim=-1)[:, 1:].mT
    low, high = cosine.aminmax(dim=-1, keepdim=True)
    raised = gradients[-1].sum(1)[..., 1:] * (cosine - low) / (high - low)
    return {
        "agcam": sum(each[:, :, rows].sum((1, 2)) for each in of_scores),
        "tempercam": sum(each[:, :, rows].sum((1, 2)) for each in of_maps[1:]),
        "grad-eclip": _with_prefix(raised[:, rows].sum(1).relu()),
    }


def _tokentm(hand: ByHand, bars: list[Tensor], rows: list[int]) -> Tensor:
    def weights(before: Tensor, transformed: Tensor) -> Tensor:
        cosines = nn.functional.cosine_similarity(transformed, before, dim=-1)
        return torch.diag_embed(transformed.norm(dim=-1) / before.norm(dim=-1) * cosines.softmax(-1))

    whole = alone = torch.diag_embed(hand.entering[0].norm(dim=-1))
    identity = torch.eye(whole.shape[-1], dtype=whole.dtype)
    steps = zip(hand.entering, hand.between, hand.entering[1:], hand.passed, hand.maps, bars, strict=False)
    for before, between, after, passed, maps, bar in steps:
        of_mlp = identity + weights(between, after - between)
        # bars are attention × its positive gradient, head by head; here both are averaged first
        raised = (bar / maps).mean(1)
        whole = of_mlp @ (identity + maps.mean(1) @ weights(before, passed) * raised) @ whole
        alone = of_mlp @ alone
    return (whole if rows == [0] else whole - alone)[:, rows].mean(1)
