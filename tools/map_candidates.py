"""The maps that ``tools/search_maps.py`` tries: each is a formula over what AGCAM's recording holds, and no more.

Of one layer and target, for heads h, query rows i that the head depends on, and keys j::

    S scores, A = softmax(S), v values, g = ∂y/∂O along the skip connections, w_ij = ⟨g_i, v_j⟩ = ∂y/∂A_ij

None has a parameter that is fitted: powers and shares are a few round numbers, and each is a candidate of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from vitcam.methods import Method
from vitcam.recording import Attention, Need, Recording


class Seen:
    """One layer for one target. All tensors are (batch, heads, rows, keys) or broadcast to it."""

    def __init__(self, layer: Attention, gradient: Tensor) -> None:
        rows = slice(gradient.shape[-2])
        self.scores = layer.scores(rows).float()
        self.gradient, self.value = gradient.float(), layer.value.float()
        self.w = layer.map_gradient(gradient)

    @cached_property
    def attention(self) -> Tensor:
        return self.scores.softmax(dim=-1)

    @cached_property
    def mean(self) -> Tensor:
        """Σ_j A w = ⟨g, O⟩, what the head adds to the score as a whole."""
        return (self.attention * self.w).sum(dim=-1, keepdim=True)

    @cached_property
    def entropy(self) -> Tensor:
        """Of A over the keys, 1 for attention that is the same everywhere."""
        keys = self.attention.shape[-1]
        return -torch.special.xlogy(self.attention, self.attention).sum(-1, True) / torch.tensor(keys).log()

    @cached_property
    def cosine(self) -> Tensor:
        lengths = self.gradient.norm(dim=-1, keepdim=True) * self.value.norm(dim=-1).unsqueeze(-2)
        return self.w / lengths.clamp_min(1e-20)

    @cached_property
    def value_length(self) -> Tensor:
        return self.value.norm(dim=-1).unsqueeze(-2)

    @cached_property
    def of_patches(self) -> Tensor:
        """How much of a row's attention isn't that of the token itself, where a head rests that finds nothing."""
        rows = self.attention.shape[-2]
        return 1 - self.attention[..., :rows].diagonal(dim1=-2, dim2=-1).unsqueeze(-1)

    @cached_property
    def awake(self) -> Tensor:
        """1 for keys whose value is at least as long as the median, less for others: sinks have short ones."""
        return (self.value_length / self.value_length.median(dim=-1, keepdim=True).values).clamp_max(1)

    @cached_property
    def gradient_length(self) -> Tensor:
        return self.gradient.norm(dim=-1, keepdim=True)


OfLayer = Callable[[Seen], Tensor]


@dataclass(frozen=True)
class Candidate:
    """A map.

    Attributes:
        formula: what is added up over layers, heads and rows, for people.
        of_layer: the same as code.
        after: what becomes of the sum of each layer's heads and rows.
        last: of the sum of all layers.
        share: which layers take part: the upper so much of them.
        rising: whether layer l of L counts l/L.
        versus: whether the score is the class's less that of the most probable other one.
        smooth: whether each patch becomes the mean of 3 × 3.
    """

    formula: str
    of_layer: OfLayer
    after: Callable[[Tensor], Tensor] = torch.Tensor.float
    last: Callable[[Tensor], Tensor] = torch.Tensor.float
    share: float = 1.0
    rising: bool = False
    versus: bool = False
    smooth: bool = False

    def __call__(self, recording: Recording) -> Tensor:
        """The map, (batch, targets, patches)."""
        gradients, grid = recording.skip_gradients, recording.layout.grid
        assert gradients is not None
        count = len(recording.layers)
        maps = []
        for target in range(recording.targets.shape[1]):
            total = torch.zeros(())
            for index in range(count - math.ceil(count * self.share), count):
                seen = Seen(recording.layers[index], gradients[index][:, target])
                added = self.after(self.of_layer(seen).sum(dim=(1, 2)))
                total = total + added * ((index + 1) / count if self.rising else 1)
            maps.append(self.last(total)[..., grid.patches])
        found = torch.stack(maps, dim=1)
        if not self.smooth:
            return found
        square = found.unflatten(2, (grid.height, grid.width))
        return torch.nn.functional.avg_pool2d(square, 3, 1, 1, count_include_pad=False).flatten(2)

    def as_method(self, name: str) -> Method:
        return Method(
            compute=self.__call__,
            needs=lambda options: Need.SKIP_GRADIENT,
            summary=self.formula,
            passes="forward, replay of the class token",
            paper="",
            called=name,
        )


def signed_power(x: Tensor, p: float) -> Tensor:
    return x.sign() * x.abs().pow(p)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


def leaky(x: Tensor, share: float) -> Tensor:
    return torch.where(x > 0, x, share * x)


def _positive(p: float, of: OfLayer = lambda q: q.w) -> OfLayer:
    return lambda q: of(q).relu() * q.attention.pow(p)


def _signed(p: float, of: OfLayer = lambda q: q.w) -> OfLayer:
    return lambda q: of(q) * q.attention.pow(p)


relu = torch.relu
CANDIDATES: dict[str, Candidate] = {
    "agcam": Candidate("ReLU(w)·sigmoid(S)", lambda q: q.w.relu() * q.scores.sigmoid()),
    **{f"positive {p}": Candidate(f"ReLU(w)·A^{p}", _positive(p)) for p in (0.3, 0.5, 0.6, 0.7, 0.85, 1.0)},
    **{f"signed {p}": Candidate(f"w·A^{p}", _signed(p)) for p in (0.3, 0.5, 0.6, 0.7, 0.85, 1.0)},
    **{
        f"leaky {share} {p}": Candidate(
            f"(ReLU(w) − {share}·ReLU(−w))·A^{p}", lambda q, p=p, s=share: leaky(q.w, s) * q.attention.pow(p)
        )
        for share in (0.1, 0.25, 0.5)
        for p in (0.3, 0.5, 0.7)
    },
    **{f"relu of heads {p}": Candidate(f"Σ_l ReLU(Σ_h w·A^{p})", _signed(p), after=relu) for p in (0.5, 0.7)},
    **{
        f"root of layers {p}": Candidate(
            f"Σ_l sgn·√|Σ_h w·A^{p}|", _signed(p), after=partial(signed_power, p=0.5)
        )
        for p in (0.5, 0.7)
    },
    **{f"relu of all {p}": Candidate(f"ReLU(Σ_l Σ_h w·A^{p})", _signed(p), last=relu) for p in (0.5, 0.7)},
    **{
        f"tempered {p}": Candidate(
            f"ReLU(w)·softmax({p}·S)", lambda q, p=p: q.w.relu() * (p * q.scores).softmax(-1)
        )
        for p in (0.5, 0.7)
    },
    **{
        f"tempered signed {p}": Candidate(
            f"w·softmax({p}·S)", lambda q, p=p: q.w * (p * q.scores).softmax(-1)
        )
        for p in (0.5, 0.7)
    },
    **{
        f"contribution {p}": Candidate(f"ReLU(w·A)^{p}", lambda q, p=p: (q.w.relu() * q.attention).pow(p))
        for p in (0.5, 0.7)
    },
    **{
        f"contribution signed {p}": Candidate(
            f"sgn(w)·|w·A|^{p}", lambda q, p=p: signed_power(q.w * q.attention, p)
        )
        for p in (0.5, 0.7)
    },
    "upper half, positive": Candidate("ReLU(w)·√A, upper half of the layers", _positive(0.5), share=0.5),
    "upper half, signed": Candidate("w·A^0.7, upper half of the layers", _signed(0.7), share=0.5),
    "rising, positive": Candidate("l/L·ReLU(w)·√A", _positive(0.5), rising=True),
    "rising, signed": Candidate("l/L·w·A^0.7", _signed(0.7), rising=True),
    "derivative": Candidate("ReLU(A·(w − ΣAw))", _positive(1, lambda q: q.w - q.mean)),
    "derivative, root": Candidate("ReLU(w − ΣAw)·√A", _positive(0.5, lambda q: q.w - q.mean)),
    "derivative, signed": Candidate("(w − ΣAw)·A^0.7", _signed(0.7, lambda q: q.w - q.mean)),
    **{
        f"centred {p}": Candidate(f"ReLU(w − mean_j w)·A^{p}", _positive(p, lambda q: centred(q.w)))
        for p in (0.3, 0.5, 0.6, 0.7, 1.0)
    },
    **{
        f"centred leaky {share} {p}": Candidate(
            f"leaky {share} of (w − mean_j w)·A^{p}",
            lambda q, p=p, s=share: leaky(centred(q.w), s) * q.attention.pow(p),
        )
        for share in (0.1, 0.25)
        for p in (0.3, 0.5)
    },
    "centred, signed": Candidate("(w − mean_j w)·A^0.7", _signed(0.7, lambda q: centred(q.w))),
    "centred, upper half": Candidate(
        "ReLU(w − mean_j w)·√A, upper half of the layers",
        _positive(0.5, lambda q: centred(q.w)),
        share=0.5,
    ),
    "centred, smooth": Candidate(
        "ReLU(w − mean_j w)·√A, mean of 3 × 3", _positive(0.5, lambda q: centred(q.w)), smooth=True
    ),
    "centred, wide heads": Candidate(
        "entropy(A)·ReLU(w − mean_j w)·√A", _positive(0.5, lambda q: q.entropy * centred(q.w))
    ),
    "centred sigmoid": Candidate(
        "ReLU(w − mean_j w)·sigmoid(S)", lambda q: centred(q.w).relu() * q.scores.sigmoid()
    ),
    "centred contribution": Candidate(
        "√ReLU((w − mean_j w)·A)", lambda q: (centred(q.w).relu() * q.attention).sqrt()
    ),
    "focused heads": Candidate(
        "(1 − entropy(A))·ReLU(w)·√A", _positive(0.5, lambda q: (1 - q.entropy) * q.w)
    ),
    "wide heads": Candidate("entropy(A)·ReLU(w)·√A", _positive(0.5, lambda q: q.entropy * q.w)),
    "wide heads, signed": Candidate("entropy(A)·w·A^0.7", _signed(0.7, lambda q: q.entropy * q.w)),
    "unit gradient": Candidate("ReLU(w/‖g‖)·√A", _positive(0.5, lambda q: q.w / q.gradient_length)),
    "unit value": Candidate("ReLU(w/‖v‖)·√A", _positive(0.5, lambda q: q.w / q.value_length)),
    "unit value, signed": Candidate("w/‖v‖·A^0.7", _signed(0.7, lambda q: q.w / q.value_length)),
    "cosine": Candidate("ReLU(cos(g, v))·√A", _positive(0.5, lambda q: q.cosine)),
    "length": Candidate("‖g‖·‖v‖·√A", _positive(0.5, lambda q: q.gradient_length * q.value_length)),
    "moved": Candidate("ReLU(w)·√(A·‖v‖)", lambda q: q.w.relu() * (q.attention * q.value_length).sqrt()),
    "no sinks": Candidate("ReLU(w)·√A·min(1, ‖v‖/median ‖v‖)", _positive(0.5, lambda q: q.w * q.awake)),
    "no sinks, signed": Candidate("w·A^0.7·min(1, ‖v‖/median ‖v‖)", _signed(0.7, lambda q: q.w * q.awake)),
    "reading heads": Candidate("(1 − A_ii)·ReLU(w)·√A", _positive(0.5, lambda q: q.of_patches * q.w)),
    "heads by their share": Candidate(
        "|ΣAw|·w·A^0.7 / ΣA|w|",
        _signed(0.7, lambda q: q.w * q.mean.abs() / (q.attention * q.w.abs()).sum(-1, True)),
    ),
    "helping heads": Candidate("w·A^0.7 of heads with ΣAw > 0", _signed(0.7, lambda q: q.w * (q.mean > 0))),
    "agreement": Candidate(
        "w·A^0.7 × share of heads with w > 0",
        lambda q: q.w * q.attention.pow(0.7) * (q.w > 0).float().mean(1, True),
    ),
    "versus, positive": Candidate("ReLU(w)·√A, versus the next class", _positive(0.5), versus=True),
    "versus, signed": Candidate("w·A^0.7, versus the next class", _signed(0.7), versus=True),
    "smooth, positive": Candidate("ReLU(w)·√A, mean of 3 × 3", _positive(0.5), smooth=True),
    "smooth, signed": Candidate("w·A^0.7, mean of 3 × 3", _signed(0.7), smooth=True),
}
