"""Methods from elsewhere: plain functions of model, images and classes, and what is checked of all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vitcam
from small_models import timm_vit
from vitcam.errors import MapError, MethodError
from vitcam.methods import METHODS, Method
from vitcam.recording import Need

SIZE, GRID, CLASSES = 32, 4, 7


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm_vit(img_size=SIZE, patch_size=SIZE // GRID, num_classes=CLASSES)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def add(monkeypatch):
    def add(given, name="mine"):
        monkeypatch.setitem(METHODS, name, given)
        return name

    return add


def gradient(model, images, targets):
    """The gradient of each class's score at the pixels."""
    scores = model(images).gather(1, targets[:, None])
    return torch.autograd.grad(scores.sum(), images)[0]


def input_gradient(model, images, targets, *, power: float = 1.0):
    """Pixel × gradient."""
    return (images * gradient(model, images, targets)).sum(1) ** power


def test_a_function_of_pixels(model, images, add):
    targets = torch.tensor([[0, 3], [1, 2], [4, 5]])
    name = add(input_gradient)
    e = vitcam.explain(model, images, name, targets)
    assert e.method == "mine"
    for place in range(2):
        copy = images.clone().requires_grad_()
        pixels = (copy * gradient(model, copy, targets[:, place])).sum(1).detach()
        means = pixels.reshape(3, GRID, SIZE // GRID, GRID, SIZE // GRID).mean((2, 4))
        torch.testing.assert_close(e.heatmaps[:, place], means, atol=1e-6, rtol=1e-4)
    assert METHODS[name].summary == "Pixel × gradient."
    squared = vitcam.explain(model, images, name, targets, power=2)
    assert squared.method == "mine(power=2)"
    with pytest.raises(MethodError, match="mine has no option 'root'; its options are: power"):
        vitcam.explain(model, images, name, root=2)


def test_it_is_compared_with_others_and_leaves_the_model_alone(model, images, add):
    name = add(input_gradient)
    before = {key: (p.requires_grad, p.grad) for key, p in model.named_parameters()}
    both = vitcam.compare(model.train(), images, ["agcam", name], targets=2)
    assert model.training
    assert {key: (p.requires_grad, p.grad) for key, p in model.named_parameters()} == before
    alone = vitcam.explain(model.eval(), images, "agcam", targets=2)
    torch.testing.assert_close(both["agcam"].heatmaps, alone.heatmaps)
    assert both["mine"].heatmaps.shape == (3, 1, GRID, GRID)


@pytest.mark.parametrize(
    "given",
    [
        lambda maps: maps,
        lambda maps: maps.numpy().astype(np.float64),
        lambda maps: maps[:, None].expand(-1, 2, -1, -1) / 2,
        lambda maps: maps.repeat_interleave(SIZE // GRID, 1).repeat_interleave(SIZE // GRID, 2),
        lambda maps: maps.to(torch.bfloat16),
    ],
)
def test_forms_of_maps(model, images, add, given):
    maps = torch.arange(3.0 * GRID * GRID).reshape(3, GRID, GRID)
    e = vitcam.explain(model, images, add(lambda model, images, targets: given(maps)))
    torch.testing.assert_close(e.heatmaps[:, 0], maps)


@pytest.mark.parametrize(
    ("given", "error", "problem"),
    [
        (torch.zeros(2, SIZE, SIZE), MethodError, r"shape \(2, 32, 32\): expected \(3, 32, 32\), a map over"),
        (torch.zeros(3, 5, 5), MethodError, r"shape \(3, 5, 5\): .* or \(3, 4, 4\), one over its patches"),
        (torch.zeros(3, 16), MethodError, r"shape \(3, 16\)"),
        (
            None,
            MethodError,
            "mine gives a NoneType: expected a tensor or an array with one map for each image",
        ),
        ([1.0], MethodError, "mine gives a list: expected a tensor"),
        (torch.tensor([0.0, 1.0, torch.nan])[:, None, None].expand(3, 4, 4), MapError, "first for image 2"),
    ],
)
def test_what_a_function_gives_is_checked(model, images, add, given, error, problem):
    with pytest.raises(error, match=problem):
        vitcam.explain(model, images, add(lambda model, images, targets: given))


def test_what_is_no_method(model, images, add):
    with pytest.raises(
        MethodError, match=r"the method mine is a int: expected a vitcam.methods.Method, or a"
    ):
        add(3)
    with pytest.raises(
        MethodError, match=r"can't be called with \(model, images, targets\): missing a required"
    ):
        add(lambda model, images, targets, more: images)
    name = add(input_gradient)
    with pytest.raises(MethodError, match="it can't explain a function of the model's output"):
        vitcam.explain(model, images, name, targets=lambda logits: logits[:, 0])


def failing(*_):
    raise KeyError("layer7")


def recorded(compute):
    return Method(compute, lambda options: Need.MAPS, "a test", "forward", "", called="mine")


def test_an_error_in_one_is_named_after_it(model, images, add):
    for given in (failing, recorded(failing)):
        with pytest.raises(MethodError, match="the method mine failed: KeyError: 'layer7'"):
            vitcam.explain(model, images, add(given))


def test_what_a_method_over_a_recording_gives_is_checked(model, images, add):
    name = add(recorded(lambda recording: torch.zeros(3, 1, 17)))
    with pytest.raises(
        MethodError, match=r"the method mine gives maps of shape \(3, 1, 17\): .*here \(3, 1, 16\)"
    ):
        vitcam.explain(model, images, name)
    name = add(recorded(lambda recording: torch.full((3, 1, 16), torch.inf)))
    with pytest.raises(MapError, match="the method mine gives NaN or infinite values"):
        vitcam.explain(model, images, name)


def test_a_method_is_known_by_the_name_that_it_has_here(model, images, add):
    name = add(METHODS["rollout"], "other")
    e = vitcam.explain(model, images, name, head_fusion="max")
    assert e.method == "other(head_fusion='max')"
    torch.testing.assert_close(
        e.heatmaps, vitcam.explain(model, images, "rollout", head_fusion="max").heatmaps
    )


def test_captum_unchanged(model, images, add):
    attr = pytest.importorskip("captum.attr", reason="captum isn't installed")

    def saliency(model, images, targets):
        return attr.Saliency(model).attribute(images, target=targets)

    ours = vitcam.explain(model, images, "captum:Saliency", targets=[1, 2, 3])
    theirs = vitcam.explain(model, images, add(saliency), targets=[1, 2, 3])
    torch.testing.assert_close(theirs.heatmaps, ours.heatmaps, atol=1e-6, rtol=1e-4)


def test_grad_cam_unchanged(model, images, add):
    library = pytest.importorskip("pytorch_grad_cam", reason="grad-cam isn't installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def on_grid(tokens):
        return tokens[:, 1:].unflatten(1, (GRID, GRID)).movedim(3, 1)

    def gradcam(model, images, targets):
        with library.GradCAM(model, [model.blocks[-1].norm1], reshape_transform=on_grid) as explain:
            return explain(images, [ClassifierOutputTarget(int(target)) for target in targets])

    targets = [1, 2, 3]
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    theirs = vitcam.explain(model, images, add(gradcam), targets=targets).heatmaps
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    classes = [ClassifierOutputTarget(target) for target in targets]
    with library.GradCAM(model, [model.blocks[-1].norm1], reshape_transform=on_grid) as explain:
        alone = torch.from_numpy(explain(images, classes))
    means = alone.reshape(3, GRID, SIZE // GRID, GRID, SIZE // GRID).mean((2, 4))
    torch.testing.assert_close(theirs[:, 0], means, atol=1e-5, rtol=1e-4)
    assert theirs.amax() > 0
