"""The method ``lrp``: against the authors' maps, and against an oracle with all maps written out."""

from __future__ import annotations

import gc
from pathlib import Path

import lrp_oracle
import pytest
import torch
from relevance_models import random_images, timm_average, timm_siglip, timm_vit
from safetensors import safe_open
from torch import Tensor, nn

from vitcam.errors import MethodError
from vitcam.methods.lrp import layer_relevances, transformer_attribution
from vitcam.methods.relevance import CHEFER, trace

GOLDEN = Path(__file__).parents[1] / "golden"


def class_token_row(model: nn.Module, images: Tensor, targets: Tensor, start_layer: int = 0) -> Tensor:
    traced = trace(model, images, CHEFER, start_layer)
    scores = traced.output.gather(1, targets[:, None]).squeeze(1)
    layers = layer_relevances(traced, scores, start_layer)
    tokens = layers[0].layer.key.shape[-2]
    return transformer_attribution(layers, torch.eye(tokens, dtype=images.dtype)[:1].expand(len(images), -1))


@pytest.fixture(params=["a", "b"])
def golden(request: pytest.FixtureRequest) -> tuple[nn.Module, dict[str, Tensor]]:
    from timm.models.vision_transformer import VisionTransformer

    with safe_open(GOLDEN / f"authors_vit_{request.param}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 — the file isn't a dict
        given = file.metadata()
    model = VisionTransformer(
        img_size=int(given["img"]),
        patch_size=int(given["patch"]),
        embed_dim=int(given["dim"]),
        depth=int(given["depth"]),
        num_heads=int(given["heads"]),
        num_classes=int(given["classes"]),
    )
    prefix = "weights/"
    model.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
    return model.eval(), tensors


@pytest.mark.parametrize("which", ["pred", "other"])
@pytest.mark.parametrize("batched", [True, False])
def test_is_the_authors_map(golden: tuple[nn.Module, dict[str, Tensor]], which: str, batched: bool) -> None:
    model, tensors = golden
    images, targets, expected = tensors["images"], tensors[which], tensors[f"heatmaps/lrp_{which}"].flatten(1)
    step = len(images) if batched else 1
    parts = zip(images.split(step), targets.split(step), strict=True)
    found = torch.cat([class_token_row(model, *part)[:, 1:] for part in parts])
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
        assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.9999


@pytest.mark.parametrize("start_layer", [0, 2])
def test_is_the_oracle_in_double_precision(start_layer: int) -> None:
    model = timm_vit().double()
    images = random_images(3).double() * torch.tensor([1.0, 30.0, 0.01])[:, None, None, None]
    targets = torch.tensor([3, 0, 6])
    found = class_token_row(model, images, targets, start_layer)
    for row, image, target in zip(found, images, targets, strict=True):
        expected = lrp_oracle.transformer_attribution(model, image, int(target), start_layer)
        expected[0] -= 1  # the class token's own I
        torch.testing.assert_close(row, expected, rtol=1e-6, atol=1e-12)
        assert row[1:].std() > 0


def test_several_targets_share_one_trace() -> None:
    model, images = timm_vit(), random_images()
    traced = trace(model, images, CHEFER, 0)
    head_row = torch.eye(17)[:1].expand(2, -1)
    for target in (5, 1):
        row = transformer_attribution(layer_relevances(traced, traced.output[:, target]), head_row)
        torch.testing.assert_close(row, class_token_row(model, images, torch.full((2,), target)))


def test_the_row_of_an_averaging_head_is_the_mean_of_the_rows() -> None:
    model, images = timm_average().double(), random_images(1).double()
    traced = trace(model, images, CHEFER, 0)
    layers = layer_relevances(traced, traced.output[:, 2])
    rows = [transformer_attribution(layers, torch.eye(17, dtype=torch.float64)[i : i + 1]) for i in range(17)]
    mean = transformer_attribution(layers, torch.tensor([[0.0] + [1 / 16] * 16], dtype=torch.float64))
    torch.testing.assert_close(mean, torch.stack(rows[1:]).mean(0))


def test_a_pooling_query_has_no_skip_connection() -> None:
    model, images = timm_siglip(), random_images()
    traced = trace(model, images, CHEFER, 0)
    layers = layer_relevances(traced, traced.output[:, 2])
    pooled = transformer_attribution(layers[-1:], torch.ones(2, 1))
    weights = (layers[-1].layer.query @ layers[-1].layer.key.mT * layers[-1].layer.scale).softmax(-1)
    share = layers[-1].relevance / layers[-1].layer.output.detach()
    value = layers[-1].layer.value
    expected = (weights * (share @ value.mT) * (layers[-1].gradient @ value.mT)).relu().mean(1) / 2
    torch.testing.assert_close(pooled, expected.squeeze(1))
    assert transformer_attribution(layers, torch.ones(2, 1)).shape == (2, 16)


def test_relevance_below_the_start_is_never_computed() -> None:
    traced = trace(timm_vit(), random_images(), CHEFER, 2)
    assert [layer.output.grad_fn for layer in traced.attentions] == [None, None, None]
    assert traced.attentions[2].output.is_leaf
    assert traced.attentions[2].output.requires_grad


def test_holds_no_map_of_all_pairs_of_tokens() -> None:
    model, images = timm_vit(img_size=80), random_images(2, 80)
    traced = trace(model, images, CHEFER, 0)
    layers = layer_relevances(traced, traced.output[:, 2])
    tensors = [x for x in gc.get_objects() if isinstance(x, Tensor)]
    assert any(x.shape == layers[0].relevance.shape for x in tensors)
    assert not any(x.ndim >= 2 and x.shape[-2:] == (26, 26) for x in tensors)


def test_a_layer_that_does_not_exist_is_named() -> None:
    traced = trace(timm_vit(), random_images(), CHEFER, 0)
    with pytest.raises(
        MethodError, match="start_layer=3, but the model has 3 attention layers; choose one from 0 to 2"
    ):
        layer_relevances(traced, traced.output[:, 0], 3)


def test_a_model_without_fused_attention_is_told_what_to_do() -> None:
    traced = trace(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5)), random_images(), CHEFER, 0)
    with pytest.raises(MethodError, match=r"no attention was seen.*fused_attn=True"):
        layer_relevances(traced, traced.output[:, 0])


def test_layers_over_different_tokens_are_refused() -> None:
    traced = trace(timm_vit(), random_images(), CHEFER, 0)
    layers = layer_relevances(traced, traced.output[:, 0])
    with pytest.raises(MethodError, match="2×17 queries and 17 keys where 2×9 tokens are expected"):
        transformer_attribution(layers, torch.ones(2, 9))


def test_scores_from_elsewhere_are_refused() -> None:
    traced = trace(timm_vit(), random_images(), CHEFER, 0)
    with torch.no_grad():
        scores = traced.output[:, 0] * 1
    with pytest.raises(MethodError, match="aren't connected to the trace's output"):
        layer_relevances(traced, scores)
