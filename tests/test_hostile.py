"""Models, targets and options as nobody should give them, and surroundings that explain mustn't notice."""

from __future__ import annotations

import copy

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

import vitcam
from small_models import perturbed, timm_vit
from vitcam.errors import ImageError, MethodError, ModelError, TargetError

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
METHODS = ["agcam", "rollout", "gae", "gradcam", "legrad", "attnlrp"]


@pytest.fixture
def _as_for_users(monkeypatch):
    """Without the tests' check of annotations, which would be faster than ours."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def vit():
    torch.manual_seed(0)
    return perturbed(timm_vit(depth=2, img_size=32, num_classes=5))


@pytest.fixture(scope="module")
def expected():
    return vitcam.compare(vit(), IMAGES, METHODS, targets=[1, 2])


def same(model, expected, tolerance=1e-4):
    found = vitcam.compare(model, IMAGES, METHODS, targets=[1, 2])
    for name, e in expected.items():
        scale = float(e.heatmaps.abs().max())
        torch.testing.assert_close(found[name].heatmaps, e.heatmaps, rtol=0, atol=tolerance * scale)


def test_gradient_checkpointing_is_switched_off_and_on_again(expected):
    model = vit()
    model.set_grad_checkpointing(True)
    same(model, expected)
    assert model.grad_checkpointing


@pytest.mark.parametrize("whole", [True, False])
def test_compiled_models_run_uncompiled(expected, whole):
    model = vit()
    if whole:
        compiled = torch.compile(model, backend="eager")
    else:
        compiled = copy.deepcopy(model)
        compiled.blocks[0].compile(backend="eager")
    same(compiled, expected)


def test_autocast_around_the_call_changes_nothing(expected):
    model = vit()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = vitcam.compare(model, IMAGES, METHODS, targets=[1, 2])
    for name, e in expected.items():
        assert torch.equal(found[name].heatmaps, e.heatmaps), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_half_precision(expected, dtype):
    same(vit().to(dtype), expected, tolerance=0.2)


class Wrapped(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.model, self.change = vit(), change

    def forward(self, images):
        return self.change(self.model(images))


def test_logits_in_a_dictionary(expected):
    same(Wrapped(lambda logits: {"loss": None, "logits": logits}), expected)
    with pytest.raises(ModelError, match="the model returned dict with scores, in which there are no logits"):
        vitcam.explain(Wrapped(lambda logits: {"scores": logits}), IMAGES)


def made_in_inference_mode():
    with torch.inference_mode():
        return vit()


@pytest.mark.usefixtures("_as_for_users")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: None, r"expected a loaded model or a torch.nn.Module, got None. vitcam.load_model"),
        (lambda: "timm:vit_tiny_patch16_224", "expected a loaded model .* got 'timm:vit_tiny_patch16_224'"),
        (
            lambda: torch.jit.trace(vit(), IMAGES),
            "a module of torch.jit can't be explained.* nn.Module that it",
        ),
        (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3))), "a module of torch.jit can't be"),
        (lambda: vit().to("meta"), "cls_token of VisionTransformer is on the meta device; load its weights"),
        (made_in_inference_mode, r"made inside torch.inference_mode\(\), so that no gradient can go through"),
    ],
)
def test_models_that_can_not_be_explained(model, message):
    with pytest.raises(ModelError, match=message):
        vitcam.explain(model(), IMAGES)


@pytest.mark.usefixtures("_as_for_users")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "int8"}, ModelError, "precision must be 'fp32', 'bf16' or 'fp16', not 'int8'"),
        ({"device": "meta"}, ModelError, "can't run on device 'meta': there tensors hold no values"),
        ({"batch_size": 1.5}, ImageError, "batch_size must be a whole number of 1 or more, not 1.5"),
        (
            {"grid": 4},
            ModelError,
            r"grid must be two whole numbers, \(rows, columns\) of patches, of which .* three; got 4",
        ),
        ({"prefix": "a"}, ModelError, "prefix must be a whole number of tokens; got 'a'"),
        ({"method": None}, MethodError, "a method is named by a string, such as 'agcam' .* got None"),
    ],
)
def test_options_of_wrong_types(options, error, message):
    model = vit()
    with pytest.raises(error, match=message):
        vitcam.explain(model, IMAGES, **options)
    assert not next(model.parameters()).is_meta


@pytest.mark.usefixtures("_as_for_users")
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            None,
            ImageError,
            r"images must be a tensor, or a path .*, a PIL image or array, or a list .* got None",
        ),
        (
            b"\xff\xd8",
            ImageError,
            r"a bare nn\.Module takes a normalised float tensor .* vitcam\.wrap\(model",
        ),
        ((path for path in ["cat.jpg"]), ImageError, "or a list of these; got <generator"),
        (IMAGES.to("meta"), ImageError, "images are on the meta device"),
        (IMAGES[:, :1], ModelError, r"itself failed on images of shape \(1, 32, 32\)"),
    ],
)
def test_images_of_wrong_kinds(images, error, message):
    model = vit()
    vitcam.explain(model, IMAGES)  # so that its size is known, which mustn't matter
    with pytest.raises(error, match=message):
        vitcam.explain(model, images)


@pytest.mark.parametrize(
    "targets",
    [np.array([1, 2]), [torch.tensor(1), torch.tensor(2)], [np.array([1]), np.array([2])], range(1, 3)],
)
def test_arrays_as_targets(expected, targets):
    e = vitcam.explain(vit(), IMAGES, targets=targets, batch_size=1)
    torch.testing.assert_close(e.heatmaps, expected["agcam"].heatmaps)


@pytest.mark.usefixtures("_as_for_users")
@pytest.mark.parametrize("targets", [{1, 2}, {1: 2}, b"ab", iter([1, 2]), [1.0, 2.0]])
def test_what_is_no_sequence_of_classes(targets):
    with pytest.raises(TargetError, match="a target must be a class index or a class name, not"):
        vitcam.explain(vit(), IMAGES, targets=targets)


@pytest.mark.usefixtures("_as_for_users")
def test_function_that_returns_no_scores():
    with pytest.raises(TargetError, match=r"returned no scores: a tensor of \(2, 0\)"):
        vitcam.explain(vit(), IMAGES, targets=lambda logits: logits[:, :0])


@pytest.mark.usefixtures("_as_for_users")
@pytest.mark.parametrize("size", [10, (10,), (2, 3, 4), (2.0, 3.0)])
def test_sizes_that_are_none(size):
    with pytest.raises(ImageError, match=r"size is \(height, width\) in pixels, both at least 1; got"):
        vitcam.explain(vit(), IMAGES).upsampled(size)
