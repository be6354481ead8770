from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class Case:
    """A tiny model with a few images, heatmaps and targets."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = VisionTransformer(
            img_size=(32, 24), patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=5
        ).eval()
        for parameter in self.model.parameters():
            parameter.data.normal_(std=0.4)
        self.images = torch.rand(3, 3, 32, 24) * 2 - 1
        self.heatmaps = torch.rand(3, 4, 3)
        self.targets = torch.tensor([0, 3, 4])

    def probability(self, image: Tensor, target: int) -> float:
        with torch.no_grad():
            return float(self.model(image[None]).softmax(-1)[0, int(target)])


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.fixture
def passes(case: Case) -> list[int]:
    """The batch sizes of all forward passes."""
    sizes: list[int] = []
    case.model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    return sizes
