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
        maps: the attention maps.
        values: what they weight.
        norms: what each block's first norm gives.
        biases: each bias with what it was added to.
    """

    model: nn.Module
    rules: str
    entering: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    biases: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __call__(self, images: Tensor) -> Tensor:
        model = self.model
        x = nn.functional.conv2d(images, model.patches.weight, model.patches.bias, stride=8)
        x = torch.cat([model.class_token.expand(len(x), 1, -1), x.flatten(2).mT], dim=1).detach()
        for block in model.blocks:
            self.entering.append(x.requires_grad_() if not self.entering else x)
            self.norms.append(self._norm(x, block.norm))
            qkv = self._linear(self.norms[-1], block.qkv)
            q, k, v = (t.unflatten(-1, (block.heads, -1)).transpose(1, 2) for t in qkv.chunk(3, dim=-1))
            a = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
            self.maps.append(a.detach().requires_grad_() if self.rules != "plain" else a)
            x = x + self._linear((self.maps[-1] @ v).transpose(1, 2).flatten(2), block.out)
            hidden = self._linear(self._norm(x, block.mlp[0]), block.mlp[1])
            gate = (1 + torch.erf(hidden / math.sqrt(2))) / 2
            x = x + hidden * (gate.detach() if self.rules == "libra" else gate)
        self.entering.append(x)
        return self._linear(x[:, 0] if model.pool == "class" else x[:, 1:].mean(1), model.head)

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
    score = hand(images)[:, target].sum()

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
        "rest": sum(each for each in biases if each.ndim == 1),
        "score": hand(images)[:, target],
    }
