"""A ViT written from scratch, trained for some seconds on a task whose answer is known, and explained.

Each image is noise with one coloured square; the class is its colour. So one knows where the model must look, and can
measure how much of a map's heat is there.

python examples/own_module.py [--steps 150]
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitcam

SIDE, PATCH, SQUARE, WIDTH, HEADS = 32, 4, 8, 48, 3
COLOURS = ("red", "green", "blue")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class MyViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, kernel_size=PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (SIDE // PATCH) ** 2, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(COLOURS))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def make_images(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, classes, and where the squares are, as masks on the patch grid."""
    images = 0.5 * torch.randn(count, 3, SIDE, SIDE)
    classes = torch.randint(len(COLOURS), (count,))
    masks = torch.zeros(count, SIDE // PATCH, SIDE // PATCH, dtype=torch.bool)
    corners = torch.randint((SIDE - SQUARE) // PATCH + 1, (count, 2))
    for i, (row, column) in enumerate(corners.tolist()):
        inside = slice(row * PATCH, row * PATCH + SQUARE), slice(column * PATCH, column * PATCH + SQUARE)
        images[i, classes[i]][inside] += 2
        masks[i, row : row + SQUARE // PATCH, column : column + SQUARE // PATCH] = True
    return images, classes, masks


def train(model: nn.Module, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        images, classes, _ = make_images(64)
        loss = F.cross_entropy(model(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    options = argparse.ArgumentParser(description="Trains and explains a ViT of one's own.")
    options.add_argument("--steps", type=int, default=150, help="of training")
    given = options.parse_args()

    torch.manual_seed(0)
    model = MyViT()
    train(model, given.steps)

    images, classes, masks = make_images(64)
    maps = vitcam.compare(
        model, images, ["agcam", "gradcam", "gae", "rollout", "random", "center"], targets=classes
    )
    right = float((next(iter(maps.values())).logits.argmax(1) == classes).float().mean())
    print(
        f"predicted right: {100 * right:.0f} %; the square is {100 * float(masks.float().mean()):.0f} % of the image"
    )
    for name, e in maps.items():
        heat = e.heatmaps[:, 0].clamp_min(0)
        inside = (heat * masks).sum((1, 2)) / heat.sum((1, 2)).clamp_min(1e-12)
        print(f"{name:8} {100 * float(inside.mean()):3.0f} % of the heat is on the square")


if __name__ == "__main__":
    main()
