"""Small Vision Transformers with structures drawn at random, and a brute-force search for their tokens' places."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS, WIDTH = 2, 16


@dataclass(frozen=True)
class Drawn:
    """What was drawn for a model.

    ``order`` has the patch of each token, -1 for tokens of no place; ``patch`` and ``stride`` are in pixels.
    """

    size: tuple[int, int]
    patch: tuple[int, int]
    stride: tuple[int, int]
    order: tuple[int, ...]
    embedding: str
    attention: str
    head: str
    crop: tuple[int, int, int, int] | None  # top, left, height, width

    @property
    def grid(self) -> tuple[int, int]:
        height, width = self.size if self.crop is None else self.crop[2:]
        return ((height - self.patch[0]) // self.stride[0] + 1, (width - self.patch[1]) // self.stride[1] + 1)


def draw(seed: int) -> Drawn:
    """A structure: any order of tokens, tokens of no place anywhere, oblong and overlapping patches, crops."""
    rng = random.Random(seed)
    patch = rng.choice([4, 8, 6]), rng.choice([4, 8, 6])
    overlapping = rng.random() < 0.25
    stride = tuple(max(2, side - 2) if overlapping else side for side in patch)
    rows, columns = rng.randint(2, 6), rng.randint(2, 6)
    seen = tuple((n - 1) * s + p for n, s, p in zip((rows, columns), stride, patch, strict=True))
    crop, size = None, seen
    if rng.random() < 0.2:
        margins = [(rng.randint(0, 5), rng.randint(0, 5)) for _ in range(2)]
        size = tuple(side + before + after for side, (before, after) in zip(seen, margins, strict=True))
        crop = (margins[0][0], margins[1][0], *seen)
    elif rng.random() < 0.2:  # a border that no patch covers
        size = tuple(side + rng.randint(0, s - 1) for side, s in zip(seen, stride, strict=True))
    places = list(range(rows * columns))
    kind = rng.choice(["rows", "columns", "random", "backwards"])
    if kind == "columns":
        places = [row * columns + column for column in range(columns) for row in range(rows)]
    elif kind == "random":
        rng.shuffle(places)
    elif kind == "backwards":
        places.reverse()
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        places.insert(rng.choice([0, len(places), rng.randint(0, len(places))]), -1)
    embedding = "convolution" if overlapping or size != seen else rng.choice(["convolution", "linear"])
    head = rng.choice(["mean", "token"] if -1 in places else ["mean"])
    attention = rng.choice(["fused", "written out", "multi-head", "three dimensions"])
    return Drawn(size, patch, stride, tuple(places), embedding, attention, head, crop)


class RandomViT(nn.Module):
    """The model of a drawn structure."""

    def __init__(self, drawn: Drawn, depth: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.drawn = drawn
        pixels = 3 * drawn.patch[0] * drawn.patch[1]
        self.convolution = nn.Conv2d(3, WIDTH, drawn.patch, drawn.stride)
        self.linear = nn.Linear(pixels, WIDTH)
        self.others = nn.Parameter(torch.randn(sum(place < 0 for place in drawn.order), WIDTH))
        self.positions = nn.Parameter(0.3 * torch.randn(len(drawn.order), WIDTH))
        self.blocks = nn.ModuleList(Block(drawn.attention) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4)

    def tokens(self, images: Tensor) -> Tensor:
        drawn = self.drawn
        if drawn.crop is not None:
            top, left, height, width = drawn.crop
            images = images[..., top : top + height, left : left + width]
        if drawn.embedding == "linear":
            cut = images.unfold(2, *[drawn.patch[0]] * 2).unfold(3, *[drawn.patch[1]] * 2)
            patches = self.linear(cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2))
        else:
            patches = self.convolution(images).flatten(2).transpose(1, 2)
        others = iter(self.others.expand(len(images), -1, -1).unbind(1))
        rows = [patches[:, place] if place >= 0 else next(others) for place in drawn.order]
        return torch.stack(rows, dim=1) + self.positions

    def forward(self, images: Tensor) -> Tensor:
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.drawn.head == "token":
            return self.head(x[:, self.drawn.order.index(-1)])
        return self.head(x.mean(dim=1))


class Block(nn.Module):
    def __init__(self, attention: str) -> None:
        super().__init__()
        self.attention = attention
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.multi = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.attention == "multi-head":
            x = x + self.multi(y, y, y, need_weights=False)[0]
        else:
            q, k, v = self.qkv(y).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
            if self.attention == "three dimensions":
                o = F.scaled_dot_product_attention(*(z.flatten(0, 1) for z in (q, k, v))).unflatten(
                    0, (-1, HEADS)
                )
            elif self.attention == "written out":
                o = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
            else:
                o = F.scaled_dot_product_attention(q, k, v)
            x = x + self.out(o.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def searched_order(model: RandomViT, image: Tensor) -> list[int]:
    """The token of each patch, by brute force: the middle of one patch after the other is changed, one at a time."""
    drawn, found = model.drawn, []
    top, left = (0, 0) if drawn.crop is None else drawn.crop[:2]
    before = model.tokens(image)
    for row in range(drawn.grid[0]):
        for column in range(drawn.grid[1]):
            changed = image.clone()
            y = top + row * drawn.stride[0] + drawn.patch[0] // 2
            x = left + column * drawn.stride[1] + drawn.patch[1] // 2
            changed[..., y - 1 : y + 1, x - 1 : x + 1] += 3.0
            found.append(int((model.tokens(changed) - before).norm(dim=-1)[0].argmax()))
    return found
