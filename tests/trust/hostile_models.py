"""A plain Vision Transformer that is easily bent, and how its maps are compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitcam
from vitcam.errors import VitcamError

WIDTH, HEADS = 24, 3
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
METHODS = ("agcam", "attention", "rollout", "gae", "gradsam", "legrad", "gradcam", "lrp", "attnlrp")
# Those whose maps of several streams add up.
OF_STREAMS = ("agcam", "attention", "rollout", "gae", "gradsam")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """A class token, patches of 8 pixels, three blocks; of 32 pixels 4 × 4 patches."""

    def __init__(
        self, seed: int = 0, block: Callable[[], nn.Module] = Block, depth: int = 3, side: int = 4
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.patches, self.norm, self.head = (
            nn.Conv2d(3, WIDTH, 8, 8),
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 5),
        )
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, side * side + 1, WIDTH) / 2)
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        with torch.no_grad():
            for weight in self.parameters():
                if weight.dim() > 1:
                    weight.add_(torch.randn_like(weight) * 0.15)
        self.eval()

    def tokens(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions

    def through(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def read(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x)[:, 0])

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.through(self.tokens(images)))


class Of(nn.Module):
    """A model made of others, by a function of them and the images."""

    def __init__(self, function: Callable[..., Tensor], *nets: nn.Module) -> None:
        super().__init__()
        self.nets, self.function = nn.ModuleList(nets), function
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images, *self.nets)


def explained(
    model: nn.Module, images: Tensor = IMAGES, methods: tuple[str, ...] = METHODS
) -> dict[str, Tensor | str]:
    """The map of each method for class 1, or the error's text."""
    found: dict[str, Tensor | str] = {}
    for method in methods:
        try:
            found[method] = vitcam.explain(model, images, method, targets=1).heatmaps
        except VitcamError as error:
            found[method] = str(error)
    return found


def assert_same(
    found: dict[str, Tensor | str], expected: dict[str, Tensor | str], tolerance: float = 2e-3
) -> None:
    """Each method gives the expected map."""
    for method, wanted in expected.items():
        ours = found[method]
        assert isinstance(ours, Tensor), f"{method}: {ours}"
        assert isinstance(wanted, Tensor), f"{method}: {wanted}"
        assert ours.shape == wanted.shape, method
        scale = wanted.abs().max()
        assert scale > 0, method
        assert (ours - wanted).abs().max() < tolerance * scale, method


def refused(found: dict[str, Tensor | str], *reasons: str) -> None:
    """Each method refuses, for one of the reasons."""
    for method, text in found.items():
        assert isinstance(text, str), f"{method} gave a map"
        assert any(reason in text for reason in reasons), f"{method}: {text}"
