"""Maps lie over what the model saw of the image, and over nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hostile_models import ViT
from random_vits import RandomViT, draw
from torch import nn

import vitcam
from small_models import HomemadeViT, perturbed
from vitcam import LoadedModel, Preprocessing
from vitcam.app.answers import Answer
from vitcam.app.drawing import Look, kept_overlay
from vitcam.app.photo_files import PhotoFile
from vitcam.app.ranking import Case, Ranking
from vitcam.errors import ImageError, MetricError, ModelError
from vitcam.evaluation.job import maps_of
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.export import export_onnx
from vitcam.heatmap import normalize, upsample
from vitcam.recording import Need, Score, record
from vitcam.types import PatchGrid

METHODS = [
    "agcam",
    "attention",
    "rollout",
    "lrp",
    "gae",
    "gradsam",
    "legrad",
    "gradcam",
    "attnlrp",
    "captum:Saliency",
    "captum:FeatureAblation",
]
TOP, LEFT, SIDE = 5, 11, 32


class Cropping(nn.Module):
    """Sees a square of its images."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(self.seen(images))

    @staticmethod
    def seen(images):
        return images[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]


class Resizing(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(F.interpolate(images, (32, 32), mode="bilinear"))


class Padding(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(F.pad(images, (3, 5, 0, 0)))


def images_of(height, width, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(2))


def vit(**options):
    return perturbed(HomemadeViT(**options), 0.1)


def naive(grid, size, region, image_size):
    """One pixel at a time; outside of the region the lowest of what is inside, or would be at its edge."""
    top, left, bottom, right = region
    out, values = torch.full(size, torch.nan), []
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = (i + 0.5) * image_size[0] / size[0], (j + 0.5) * image_size[1] / size[1]
            inside = top <= y <= bottom and left <= x <= right
            y = min(max((y - top) / (bottom - top) * grid.shape[0] - 0.5, 0), grid.shape[0] - 1)
            x = min(max((x - left) / (right - left) * grid.shape[1] - 0.5, 0), grid.shape[1] - 1)
            above, before = int(y), int(x)
            below, behind = min(above + 1, grid.shape[0] - 1), min(before + 1, grid.shape[1] - 1)
            dy, dx = y - above, x - before
            value = (1 - dy) * ((1 - dx) * grid[above, before] + dx * grid[above, behind]) + dy * (
                (1 - dx) * grid[below, before] + dx * grid[below, behind]
            )
            values.append(value)
            if inside:
                out[i, j] = value
    return out.nan_to_num(float(min(values)))


@pytest.mark.parametrize(
    ("size", "region", "image_size"),
    [
        ((20, 30), (2, 3, 17, 24), None),
        ((20, 30), (-4, -7.5, 29, 33), None),
        ((20, 30), (0, 0, 20, 24), None),
        ((31, 17), (3.5, 0, 70, 64), (80, 64)),
        ((3, 2), (30, 30, 34, 34), (64, 64)),
    ],
)
def test_a_map_lies_in_its_region(size, region, image_size):
    maps = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    laid = upsample(maps, size, region, image_size)
    for i in range(2):
        for t in range(2):
            torch.testing.assert_close(laid[i, t], naive(maps[i, t], size, region, image_size or size))


def test_the_whole_image_as_a_region_is_no_region():
    maps = torch.randn(1, 2, 5, 3)
    torch.testing.assert_close(upsample(maps, (40, 31), (0, 0, 40, 31)), upsample(maps, (40, 31)))
    assert not normalize(upsample(torch.full((1, 1, 3, 3), 0.3), (20, 20), (2, 2, 15, 16))).any()


def test_an_empty_region_is_refused():
    with pytest.raises(ImageError, match=r"region is \(top, left, bottom, right\) .* got \(3, 0, 3, 8\)"):
        upsample(torch.zeros(1, 1, 2, 2), (8, 8), (3, 0, 3, 8))


def test_a_border_that_no_patch_covers_is_cold():
    model = vit()
    model.patches = perturbed(nn.Conv2d(3, 24, 14, 14), 0.05)
    images = images_of(56, 69)
    explanation = vitcam.explain(model, images)
    assert explanation.heatmaps.shape[2:] == (4, 4)
    assert explanation.region == pytest.approx((0, 0, 56, 56), abs=1)
    hottest_last = replace(explanation, heatmaps=torch.eye(4)[3].expand(2, 1, 4, 4))
    pixels = hottest_last.upsampled()
    assert bool((pixels[..., 50:55] == 1).all())  # the last patch is at 42 to 56
    assert not pixels[..., 57:].any()
    for image in hottest_last.boxes(0.5):
        assert image[0][0].left == pytest.approx(42, abs=1)
        assert image[0][0].right == pytest.approx(56, abs=1)


@pytest.mark.parametrize("method", METHODS)
def test_a_crop_inside_the_model_gives_the_map_of_the_crop(method):
    if method.startswith("captum"):
        pytest.importorskip("captum")
    inner, images = vit(), images_of(40, 52)
    found = vitcam.explain(Cropping(inner), images, method)
    expected = vitcam.explain(inner, Cropping.seen(images), method)
    assert found.region == (TOP, LEFT, TOP + SIDE, LEFT + SIDE)
    torch.testing.assert_close(found.heatmaps, expected.heatmaps, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(Cropping.seen(found.upsampled()), expected.upsampled(), atol=1e-4, rtol=1e-4)
    outside = found.upsampled().clone()
    Cropping.seen(outside).zero_()
    assert not outside.any()


def test_a_resize_inside_the_model_covers_the_whole_image():
    inner, images = vit(), images_of(48, 96)
    found = vitcam.explain(Resizing(inner), images)
    expected = vitcam.explain(inner, F.interpolate(images, (32, 32), mode="bilinear"))
    assert found.region is None
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    assert found.upsampled().shape[2:] == (48, 96)


@pytest.mark.parametrize("method", ["agcam", "attnlrp"])
def test_a_region_may_reach_beyond_the_image(method):
    inner, images = vit(), images_of(32, 32)
    found = vitcam.explain(Padding(inner), images, method)
    assert found.heatmaps.shape[2:] == (4, 5)
    assert found.region == pytest.approx((0, -3, 32, 37), abs=1)
    if method == "agcam":
        padded = vitcam.explain(inner, F.pad(images, (3, 5, 0, 0)))
        torch.testing.assert_close(found.heatmaps, padded.heatmaps)


def test_pictures_and_parts_lie_in_the_region():
    model, images = Cropping(vit()), images_of(40, 52, 1)
    explanation = vitcam.explain(model, images)
    parts = vitcam.decompose(model, images)
    assert parts.region == explanation.region
    # An overlay's cold pixels are those of a map without any heat.
    cold = replace(explanation, heatmaps=torch.zeros_like(explanation.heatmaps))
    hot, without = np.asarray(explanation.overlay()), np.asarray(cold.overlay())
    assert (hot[:, : LEFT - 1] == without[:, : LEFT - 1]).all()
    assert (hot[:, LEFT + SIDE + 1 :] == without[:, LEFT + SIDE + 1 :]).all()
    assert (hot != without).any()
    case = Case(PhotoFile(Path("photograph.jpg")), "a model")
    answer = Answer(
        case, Ranking(case, False, (0,), ("a class",), (1.0,)), ("agcam",), {"agcam": explanation}
    )
    kept = kept_overlay(answer, parts, 0, np.ones(parts.maps.shape[2:4], bool), Look())
    shown = np.asarray(kept).astype(int)
    assert abs(shown - hot).max() <= 3  # the sum of the parts is the map, to rounding


def test_measures_are_of_the_maps_in_their_region():
    inner, images = vit(), images_of(40, 52)
    explanation = vitcam.explain(Cropping(inner), images)
    laid = maps_of(explanation)[:, 0]
    torch.testing.assert_close(laid, explanation.upsampled(normalize=False)[:, 0])
    whole = replace(explanation, region=None)
    assert maps_of(whole) is whole.heatmaps


@pytest.mark.parametrize("seed", [3, 4, 6, 7])
def test_tokens_are_dropped_where_they_stand(seed):
    drawn = next(
        drawn
        for number in range(seed * 1000, seed * 1000 + 900)
        if (drawn := draw(number)).head == "token" and drawn.order[0] >= 0 and drawn.crop is None
    )
    model = RandomViT(drawn).eval()
    images = torch.randn(2, 3, *drawn.size, generator=torch.Generator().manual_seed(1))
    explanation = vitcam.explain(model, images, "attention")
    layout = record(
        model, images, Score(choose=lambda logits: logits.argmax(1, keepdim=True)), Need.NOTHING
    ).layout
    given = images, explanation.heatmaps[:, 0], explanation.targets[:, 0]
    curves = token_dropping_curves(
        TokensDropped(model), model.blocks[0], layout.grid, *given, steps=2, tokens=layout.tokens
    )
    # By hand: the half of the patches that is hottest is left out.
    for i in range(2):
        heat = explanation.heatmaps[i, 0].flatten()
        hottest = heat.sort(descending=True, stable=True).indices[: len(heat) // 2].tolist()
        kept = [token for token, place in enumerate(drawn.order) if place not in hottest]
        x = model.tokens(images[i : i + 1])[:, kept]
        for block in model.blocks:
            x = block(x)
        logits = model.head(model.norm(x)[:, kept.index(drawn.order.index(-1))])
        expected = logits.softmax(1)[0, explanation.targets[i, 0]]
        torch.testing.assert_close(curves.morf[i, 1].float(), expected.float(), atol=1e-5, rtol=1e-4)


class TokensDropped(nn.Module):
    """The model, whose head finds the class token wherever it stands among those that are left."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.marked = model.tokens(torch.zeros(1, 3, *model.drawn.size))[0, model.drawn.order.index(-1)]

    def forward(self, images):
        model, first = self.model, []
        hook = model.blocks[0].register_forward_pre_hook(lambda module, args: first.append(args[0]))
        try:
            x = model.tokens(images)
            for block in model.blocks:
                x = block(x)
        finally:
            hook.remove()
        found = (first[0] - self.marked).abs().sum(-1).argmin(1)
        return model.head(model.norm(x)[torch.arange(len(x)), found])


def test_token_dropping_refuses_what_it_cannot_drop():
    grid, heatmaps, images = PatchGrid(2, 2, 0), torch.zeros(1, 2, 2), torch.zeros(1, 3, 16, 16)
    targets = torch.zeros(1, dtype=torch.long)
    with pytest.raises(ModelError, match="all its tokens are patches"):
        token_dropping_curves(vit(), nn.Identity(), grid, images, heatmaps, targets)
    with pytest.raises(ModelError, match=r"the last of which is token 6, got tokens=5"):
        token_dropping_curves(
            vit(), nn.Identity(), PatchGrid(2, 2, 1, (1, 6, 2, 3)), images, heatmaps, targets, tokens=5
        )
    with pytest.raises(MetricError, match="not upsampled ones"):
        token_dropping_curves(vit(), nn.Identity(), PatchGrid(2, 2, 1), images, torch.zeros(1, 9, 9), targets)


class Twice(nn.Module):
    """Sees an image and its mirror image."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images) + self.inner(images.flip(-1))


def _shuffled():
    drawn = next(
        drawn
        for seed in range(500)
        if (drawn := draw(seed)).crop is None
        and drawn.attention == "fused"
        and drawn.order[0] == -1
        and sorted(drawn.order[1:]) != list(drawn.order[1:])
        and drawn.patch == drawn.stride
        and drawn.size == tuple(g * p for g, p in zip(drawn.grid, drawn.patch, strict=True))
    )
    return RandomViT(drawn).eval(), drawn.size


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: (Cropping(vit()), (40, 52)), r"a part of the image only .*5, 11, 37, 43 of 40×52 pixels"),
        (lambda: (Twice(vit()), (32, 32)), r"2 streams of tokens"),
        (_shuffled, r"don't follow one another row by row"),
    ],
)
def test_export_refuses_what_a_graph_could_not_say(make, why, tmp_path):
    pytest.importorskip("onnx")
    module, size = make()
    loaded = LoadedModel(module, Preprocessing(size=size, mean=(0.5,) * 3, std=(0.5,) * 3))
    with pytest.raises(ModelError, match=why):
        export_onnx(loaded, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("around", [(0, 8, 0, 8), (8, 0, 8, 0), (0, 8, 0, 0)])
def test_patches_of_a_mirrored_border_are_no_places(around):
    class Mirroring(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = AnySize()

        def forward(self, images):
            return self.inner(F.pad(images, around, mode="reflect"))

    images = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    for method in ("attention", "captum:Saliency"):
        with pytest.raises(ModelError, match="which place of the image couldn't be confirmed"):
            vitcam.explain(Mirroring().eval(), images, method, targets=1)


class AnySize(ViT):
    """Takes images of any size."""

    def tokens(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
