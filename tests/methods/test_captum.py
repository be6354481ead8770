"""The captum methods: what they compute, on any model, one image or many, within bounds."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

import vitcam
from families import images_of, model_of
from vitcam.errors import MethodError, ModelError, TargetError
from vitcam.methods import METHODS, captum, find_method

pytest.importorskip("captum", reason="captum is an optional extra")

NAME = "torchvision vit"
QUICK = {
    "Saliency": {},
    "InputXGradient": {},
    "IntegratedGradients": {"n_steps": 4},
    "GradientShap": {"n_samples": 10, "noise": 0.1},
    "SmoothGrad": {"n_samples": 10},
    "FeatureAblation": {},
    "ShapleyValueSampling": {"n_samples": 1},
    "KernelShap": {"n_samples": 16, "cells": 2},
    "Lime": {"n_samples": 16, "cells": 2},
}
NOISY = ["GradientShap", "SmoothGrad", "ShapleyValueSampling", "KernelShap", "Lime"]


@pytest.fixture(scope="module")
def model():
    return model_of(NAME).eval()


@pytest.fixture(scope="module")
def images():
    return images_of(NAME)


def explained(model, images, name, targets, **options):
    return vitcam.explain(model, images, f"captum:{name}", targets, **(QUICK[name] | options)).heatmaps


def gradient(model, images, target):
    images = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(images)[:, target].sum(), images)
    return found


def on_patches(pixels):
    return F.avg_pool2d(pixels.sum(1), 16)


def test_all_of_them_are_methods():
    assert {f"captum:{name}" for name in QUICK} == {name for name in METHODS if name.startswith("captum:")}


def test_saliency_is_the_gradients_magnitude(model, images):
    expected = on_patches(gradient(model, images, 3).abs())
    torch.testing.assert_close(explained(model, images, "Saliency", 3)[:, 0], expected)


def test_input_x_gradient_keeps_its_sign(model, images):
    expected = on_patches(images * gradient(model, images, 3))
    ours = explained(model, images, "InputXGradient", 3)[:, 0]
    torch.testing.assert_close(ours, expected, atol=1e-7, rtol=1e-4)
    assert ours.min() < 0


def test_integrated_gradients_are_complete(model, images):
    ours = explained(model, images, "IntegratedGradients", 3, n_steps=60)[:, 0]
    with torch.no_grad():
        rise = (model(images) - model(torch.zeros_like(images)))[:, 3]
    torch.testing.assert_close(ours.sum((1, 2)) * 16 * 16, rise, atol=2e-3, rtol=2e-2)


def test_gradient_shap_without_noise_is_near_integrated_gradients(model, images):
    shap = explained(model, images, "GradientShap", 3, n_samples=200, noise=0.0)[:, 0]
    integrated = explained(model, images, "IntegratedGradients", 3, n_steps=60)[:, 0]
    torch.testing.assert_close(shap, integrated, atol=0.15 * integrated.abs().max().item(), rtol=0)


def test_smooth_grad_without_noise_is_saliency(model, images):
    smooth = explained(model, images, "SmoothGrad", 3, noise=0.0)
    torch.testing.assert_close(smooth, explained(model, images, "Saliency", 3), atol=1e-8, rtol=1e-4)


def test_feature_ablation_is_the_fall_of_the_score(model, images):
    ours = explained(model, images, "FeatureAblation", 3)[:, 0]
    changed = images.clone()
    changed[:, :, 16:32, 48:64] = 0
    with torch.no_grad():
        expected = (model(images) - model(changed))[:, 3]
    torch.testing.assert_close(ours[:, 1, 3], expected, atol=1e-5, rtol=1e-4)


def test_shapley_values_sum_to_the_rise(model, images):
    ours = explained(model, images, "ShapleyValueSampling", 3)[:, 0]
    with torch.no_grad():
        rise = (model(images) - model(torch.zeros_like(images)))[:, 3]
    torch.testing.assert_close(ours.sum((1, 2)), rise, atol=1e-4, rtol=1e-4)


def test_regressions_on_cells_are_near_vitcams_own_shapley_values(model, images):
    ours = vitcam.explain(model, images[:1], "shapley(cells=2, budget=120)", 3).heatmaps[0, 0] * 4  # patches
    shap = explained(model, images[:1], "KernelShap", 3, n_samples=400)[0, 0]
    lime = explained(model, images[:1], "Lime", 3, n_samples=200)[0, 0]
    for theirs in (shap, lime):
        assert (theirs[:2, :2] == theirs[0, 0]).all()
        assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.9
    assert shap.sum().item() == pytest.approx(ours.sum().item(), rel=0.05)


def test_regressions_need_scikit_learn(model, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MethodError, match=r"captum:Lime needs scikit-learn, which isn't installed"):
        explained(model, images[:1], "Lime", 3)


@pytest.mark.parametrize("name", QUICK)
def test_a_batch_gives_what_its_images_give(model, images, name):
    targets = [[1, 4], [0, 3], [5, 2]]
    batch = explained(model, images, name, targets)
    assert (batch.flatten(2).std(dim=2) > 0).all()
    for i in (0, 2):
        single = explained(model, images[i : i + 1], name, [targets[i]])
        torch.testing.assert_close(single[0], batch[i], atol=1e-4 * batch[i].abs().max().item(), rtol=0)


@pytest.mark.parametrize("name", NOISY)
def test_noise_is_seeded_and_leaves_the_generators_alone(model, images, name):
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    once = explained(model, images[:1], name, 3)
    assert (torch.rand(1), np.random.rand()) == expected
    assert torch.equal(explained(model, images[:1], name, 3), once)
    assert not torch.allclose(explained(model, images[:1], name, 3, seed=1), once, rtol=1e-3)


@pytest.mark.parametrize("name", QUICK)
def test_memory_is_bounded(model, images, name):
    sizes = []
    handle = model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    try:
        explained(model, images, name, 3)
    finally:
        handle.remove()
    assert max(sizes) <= captum.COPIES


def test_targets_may_be_a_function(model, images):
    by_function = explained(model, images, "Saliency", lambda logits: logits[:, [3, 5]])
    torch.testing.assert_close(by_function, explained(model, images, "Saliency", [[3, 5]] * 3))


def test_a_function_that_holds_something_of_each_image_is_refused(model, images):
    labels = torch.nn.functional.one_hot(torch.tensor([1, 2]), model(images[:2]).shape[1])
    for function in (
        lambda logits: (logits * labels).sum(1),
        lambda logits: logits[torch.arange(2), torch.tensor([1, 2])],
    ):
        with pytest.raises(TargetError, match="score them one by one"):
            vitcam.explain(model, images[:2], "captum:Saliency", targets=function)
    whole = vitcam.explain(model, images[:2], "captum:Saliency", targets=[1, 2]).heatmaps
    by_row = vitcam.explain(model, images[:2], "captum:Saliency", targets=lambda y: y[:, 1]).heatmaps
    torch.testing.assert_close(by_row[0], whole[0])


def test_hierarchical_model():
    swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=5)
    assert explained(swin, torch.randn(1, 3, 224, 224), "Saliency", 2).shape == (1, 1, 7, 7)


def test_lower_precision(model, images):
    exact = explained(model, images, "Saliency", 3).flatten()
    lower = vitcam.explain(model, images, "captum:Saliency", 3, precision="bf16").heatmaps.flatten()
    assert not torch.equal(exact, lower)
    assert torch.corrcoef(torch.stack([exact, lower]))[0, 1] > 0.99


def test_options_are_in_the_name(model, images):
    e = vitcam.explain(model, images[:1], "captum:IntegratedGradients(n_steps=3)")
    assert e.method == "captum:IntegratedGradients(n_steps=3)"
    assert find_method("captum:SmoothGrad")[1] == {"n_samples": 50, "noise": 0.15, "seed": 0}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("captum:Saliencies", r"no method 'captum:Saliencies'. Did you mean 'captum:Saliency'"),
        (
            "captum:DeepLift",
            r"The methods are .*captum:Saliency, captum:InputXGradient, captum:IntegratedGrad",
        ),
        ("captum:Saliency(n_steps=3)", "captum:Saliency has no option 'n_steps'; its options are: none"),
        ("captum:IntegratedGradients(n_steps=0)", "take no n_steps=0; it must be positive"),
        ("captum:SmoothGrad(noise=-1)", "take no noise=-1; it must be positive"),
        ("captum:SmoothGrad(3)", r"can't read the method 'captum:SmoothGrad\(3\)'"),
    ],
)
def test_wrong_methods(model, images, method, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model, images[:1], method)


def test_score_that_does_not_depend_on_the_image(model, images):
    with pytest.raises(ModelError, match="every attribution at the pixels is exactly zero"):
        vitcam.explain(model, images, "captum:Saliency", lambda logits: logits[:, 0] * 0.0)


def test_captum_is_optional(model, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MethodError, match=r"isn't installed: pip install 'vitcam\[captum\]'"):
        vitcam.explain(model, images[:1], "captum:Saliency")
