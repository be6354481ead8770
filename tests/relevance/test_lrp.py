"""The method ``lrp``: against the authors' maps, and against an oracle with all maps written out."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import lrp_oracle
import pytest
import torch
from relevance_models import random_images, timm_average, timm_siglip, timm_vit
from safetensors import safe_open
from torch import Tensor, nn

import vitcam
from vitcam.errors import MethodError
from vitcam.methods.lrp import layer_relevances, transformer_attribution
from vitcam.methods.relevance import CHEFER, trace
from vitcam.photos import photo_path

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


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the map's maximum."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("which", ["pred", "other"])
def test_is_the_authors_map(golden: tuple[nn.Module, dict[str, Tensor]], which: str) -> None:
    """Up to how far theirs, computed in float32 on some processor, is from float64: the method is ill-conditioned."""
    model, tensors = golden
    targets, expected = tensors[which], tensors[f"heatmaps/lrp_{which}"].double().flatten(1)
    found = vitcam.explain(model, tensors["images"], "lrp", targets=targets).heatmaps.flatten(1).double()
    exact_model = copy.deepcopy(model).double()
    for ours, theirs, image, target in zip(found, expected, tensors["images"], targets, strict=True):
        exact = lrp_oracle.transformer_attribution(exact_model, image.double(), int(target))[1:]
        assert distance(ours, exact) < 1e-4
        assert distance(theirs, exact) < 0.05  # or it would be another method's
        assert distance(ours, theirs) < 1.1 * distance(theirs, exact) + 1e-4


@pytest.fixture(scope="module")
def photographs() -> tuple[nn.Module, Tensor, Tensor]:
    """The embedded model, photographs and classes; on the second, float32 is a tenth of the map away."""
    model = vitcam.load_model("embedded:photo")
    images = model.preprocess([photo_path(name) for name in ("cat", "cup", "astronaut", "cat_and_cup")])
    return model.module, images, vitcam.explain(model, images).targets


@pytest.fixture(scope="module")
def exact(photographs: tuple[nn.Module, Tensor, Tensor]) -> Tensor:
    """The maps of the same model in double precision."""
    model, images, targets = photographs
    model, images = copy.deepcopy(model).double(), images.double()
    maps = [map_of_one(model, image[None], target) for image, target in zip(images, targets, strict=True)]
    return torch.cat(maps)


def map_of_one(model: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    return vitcam.explain(model, image, "lrp", targets=target).heatmaps.double().flatten(1)


@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (1, 4), (2, 4)])
def test_is_the_map_of_a_model_in_double_precision(photographs, exact, threads: int, batch: int) -> None:
    model, images, targets = photographs
    torch.set_num_threads(threads)
    found = vitcam.explain(model, images, "lrp", targets=targets, batch_size=batch).heatmaps.flatten(1)
    for ours, theirs in zip(found.double(), exact, strict=True):
        assert distance(ours, theirs) < 1e-5


def test_needs_double_precision_for_that(photographs, exact) -> None:
    model, images, targets = photographs
    row = class_token_row(model, images[1:2], targets[1])[:, 1:].double()
    assert distance(row[0], exact[1]) > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_has_the_map_of_its_weights(photographs, dtype: torch.dtype) -> None:
    model, images, targets = photographs
    model = copy.deepcopy(model).to(dtype)
    expected = map_of_one(copy.deepcopy(model).double(), images[1:2].to(dtype).double(), targets[1])
    found = vitcam.explain(model, images[1:2].to(dtype), "lrp", targets=targets[1]).heatmaps.flatten(1)
    assert distance(found[0].double(), expected[0]) < 1e-5
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_a_function_of_the_output_may_compute_in_single_precision(photographs) -> None:
    model, images, targets = photographs
    weights = torch.zeros(62, 2)
    weights[targets[0]] = 1
    found = vitcam.explain(model, images[:1], "lrp", targets=lambda logits: logits @ weights)
    expected = vitcam.explain(model, images[:1], "lrp", targets=targets[0])
    torch.testing.assert_close(found.heatmaps[:, :1], expected.heatmaps)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(("method", "own"), [("lrp", "float64"), ("attnlrp", "float32")])
def test_another_precision_is_refused(method: str, own: str, precision: str) -> None:
    message = (
        f"{method} computes in {own}, also on a model in bf16 or fp16, .* leave out precision='{precision}'"
    )
    with pytest.raises(MethodError, match=message):
        vitcam.explain(timm_vit(), random_images(), method, precision=precision)


@pytest.mark.parametrize("first", [True, False])
def test_attention_over_what_is_not_the_image_is_no_layer(first: bool) -> None:
    """A tower for texts, which runs in front of the image's or behind it."""

    class TwoTowers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit, self.text = timm_vit(), timm_vit().blocks[0]
            self.words = nn.Parameter(torch.randn(1, 9, 48, generator=torch.Generator().manual_seed(0)))

        def forward(self, images: Tensor) -> Tensor:
            texts = self.text(self.words) if first else None
            features = self.vit.forward_head(self.vit.forward_features(images), pre_logits=True)
            texts = self.text(self.words) if texts is None else texts
            return features @ texts[0].T

    class Alone(nn.Module):
        def __init__(self, both: TwoTowers) -> None:
            super().__init__()
            self.vit = both.vit
            with torch.no_grad():
                self.texts = both.text(both.words)[0].T

        def forward(self, images: Tensor) -> Tensor:
            return self.vit.forward_head(self.vit.forward_features(images), pre_logits=True) @ self.texts

    both, images = TwoTowers().eval(), random_images()
    for options in ("", "(start_layer=1)"):
        expected = vitcam.explain(Alone(both).eval(), images, f"lrp{options}", targets=3).heatmaps
        found = vitcam.explain(both, images, f"lrp{options}", targets=3).heatmaps
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_layers_are_counted_from_the_last_too() -> None:
    model, images = timm_vit(), random_images()
    expected = vitcam.explain(model, images, "lrp(start_layer=2)", targets=3).heatmaps
    assert vitcam.explain(model, images, "lrp(start_layer=-1)", targets=3).heatmaps.equal(expected)


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
