"""Both methods on unmodified models of every family: finite, not constant, a batch as its single images."""

from __future__ import annotations

import pytest
import torch
from relevance_models import FAMILIES, logits_of, random_images
from torch import Tensor, nn

from vitcam.methods.attnlrp import input_relevance, patch_relevance
from vitcam.methods.lrp import layer_relevances, transformer_attribution
from vitcam.methods.relevance import CHEFER, attnlrp_rules, trace
from vitcam.types import PatchGrid


def lrp(model: nn.Module, images: Tensor) -> Tensor:
    traced = trace(model, images, CHEFER, 0)
    layers = layer_relevances(traced, logits_of(traced.output)[:, 3])
    queries = layers[-1].layer.query.shape[-2]
    head_row = images.new_full((len(images), queries), 1 / queries)
    return transformer_attribution(layers, head_row)[:, -16:]


def attnlrp(model: nn.Module, images: Tensor) -> Tensor:
    traced = trace(model, images, attnlrp_rules())
    return patch_relevance(
        input_relevance(traced, logits_of(traced.output)[:, 3]), PatchGrid(height=4, width=4, prefix=0)
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", [lrp, attnlrp])
def test_every_family(family: str, method) -> None:
    model, images = FAMILIES[family]().double(), random_images(3).double()
    maps = method(model, images)
    assert maps.shape == (3, 16)
    assert maps.isfinite().all()
    assert (maps.std(dim=1) > 1e-9).all()
    singles = torch.cat([method(model, image[None]) for image in images])
    torch.testing.assert_close(maps, singles, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("family", ["timm_vit", "torchvision_vit", "hugging_face_vit"])
def test_two_classes_get_two_maps(family: str) -> None:
    model, images = FAMILIES[family](), random_images()
    traced = trace(model, images, attnlrp_rules())
    maps = [input_relevance(traced, logits_of(traced.output)[:, target]) for target in (0, 1)]
    assert not torch.allclose(*maps)
