"""The CAM family against pip grad-cam on its usual target, before that package scales maps to 0..1."""

from __future__ import annotations

import pytest
import timm
import torch

import vitcam
from families import images_of, model_of

reference = pytest.importorskip("pytorch_grad_cam", reason="the reference, pip grad-cam, isn't installed")

NAMES = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "hirescam": "HiResCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
}
SIGNLESS = {"eigencam", "eigengradcam"}  # there the sign is numpy's


@pytest.fixture
def unscaled(monkeypatch):
    """The package, which leaves maps as they are: no 0..1, no upsampling."""
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", lambda cam, size=None: cam)


def by_reference(cam, images, targets, **options):
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    asked = None if targets is None else [ClassifierOutputTarget(target) for target in targets]
    with cam:
        return torch.from_numpy(cam(input_tensor=images, targets=asked, **options))


def of_tokens(prefix, side):
    """The usual reshape transform."""
    return lambda tokens: tokens[:, prefix:].unflatten(1, (side, side)).permute(0, 3, 1, 2)


def close(ours, theirs, signless=False):
    """Up to what the package sets to zero, and to a sign where that is by chance."""
    candidates = [ours, -ours] if signless else [ours]
    return any(
        torch.allclose(one.relu(), theirs, rtol=1e-3, atol=2e-4 * float(theirs.max())) for one in candidates
    )


def test_every_method(unscaled):
    model, images, targets = model_of("timm vit").eval(), images_of("timm vit", 2), [4, 7]
    ours = vitcam.compare(model, images, list(NAMES), targets=targets)
    for name, theirs in NAMES.items():
        cam = getattr(reference, theirs)(model, [model.blocks[-1].norm1], reshape_transform=of_tokens(1, 14))
        expected = by_reference(cam, images, targets)
        assert expected.max() > 0
        for image in range(2):
            one = ours[name].heatmaps[image, 0]
            assert close(one, expected[image], signless=name in SIGNLESS), name


def test_every_place(unscaled):
    model, images, targets = model_of("timm vit").eval(), images_of("timm vit", 2), [4, 7]
    block = model.blocks[1]
    places = {
        "layer=1": block.norm1,
        "layer=-3, at='norm2'": block.norm2,
        "layer=1, at='block'": block,
        "layer='blocks.1.mlp.fc1'": block.mlp.fc1,
    }
    for name in ("gradcam", "hirescam"):
        ours = vitcam.compare(model, images, [f"{name}({place})" for place in places], targets=targets)
        for explanation, module in zip(ours.values(), places.values(), strict=True):
            cam = getattr(reference, NAMES[name])(model, [module], reshape_transform=of_tokens(1, 14))
            expected = by_reference(cam, images, targets)
            assert expected.max() > 0
            assert close(explanation.heatmaps[:, 0], expected), explanation.method


@pytest.mark.parametrize(
    ("smooth", "options"),
    [("eigen", {"eigen_smooth": True}), ("aug", {"aug_smooth": True})],
)
def test_smoothing(unscaled, smooth, options):
    model, images, targets = model_of("timm vit").eval(), images_of("timm vit", 2), [4, 7]
    for name in ("gradcam", "layercam"):
        cam = getattr(reference, NAMES[name])(
            model, [model.blocks[-1].norm1], reshape_transform=of_tokens(1, 14)
        )
        expected = by_reference(cam, images, targets, **options)
        ours = vitcam.explain(model, images, name, targets=targets, smooth=smooth).heatmaps[:, 0]
        if smooth == "aug":
            assert close(ours, expected), name
            continue
        signed = vitcam.explain(model, images, "hirescam", targets=targets, smooth=smooth).heatmaps
        assert (
            signed.min() < 0
        )  # which is why a component whose sign is the other way round can be compared below
        for image in range(2):
            kept, theirs = ours[image], expected[image]
            # Of a component turned over the ReLU leaves the other half.
            assert close(kept, theirs) or not ((kept > 0) & (theirs > 1e-4 * theirs.max())).any(), name


def test_finercam(unscaled):
    model, images = model_of("timm vit").eval(), images_of("timm vit", 2)
    cam = reference.FinerCAM(model, [model.blocks[-1].norm1], reshape_transform=of_tokens(1, 14))
    expected = by_reference(cam, images, None)
    assert expected.max() > 0
    assert close(vitcam.explain(model, images, "finercam").heatmaps[:, 0], expected)
    cam = reference.FinerCAM(model, [model.blocks[-1].norm1], reshape_transform=of_tokens(1, 14))
    half = by_reference(cam, images, None, alpha=0.5, comparison_categories=[1])
    ours = vitcam.explain(model, images, "finercam", references=1, strength=0.5)
    assert close(ours.heatmaps[:, 0], half)


def test_ablationcam(unscaled):
    """Where the package puts zeros too, as its paper does."""
    from pytorch_grad_cam.ablation_layer import AblationLayerVit

    class Zeros(AblationLayerVit):
        def __call__(self, x):
            ablated = self.activations.clone()
            for copy in range(len(ablated)):
                ablated[copy, :, self.indices[copy]] = 0
            return ablated

    model = timm.create_model(
        "vit_tiny_patch16_224", depth=2, embed_dim=48, img_size=64, num_classes=5, patch_size=16
    ).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    predicted = int(model(images).argmax())
    cam = reference.AblationCAM(
        model,
        [model.blocks[-1].norm1],
        reshape_transform=of_tokens(1, 4),
        ablation_layer=Zeros(),
        batch_size=24,
    )
    expected = by_reference(cam, images, [predicted])
    assert expected.max() > 0
    assert close(vitcam.explain(model, images, "ablationcam", targets=predicted).heatmaps[:, 0], expected)


def test_stages_of_swin(unscaled):
    """A layer of a hierarchical model has the grid of its stage."""
    torch.manual_seed(0)
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=112, depths=(1, 1, 2, 1), num_classes=5
    ).eval()
    images, targets = torch.randn(2, 3, 112, 112), [1, 4]
    names = ["gradcam(layer=2)", "layercam(layer=2, at='block')", "hirescam(layer=0)", "gradcam"]
    modules = [
        model.layers[2].blocks[0].norm1,
        model.layers[2].blocks[0],
        model.layers[0].blocks[0].norm1,
        model.layers[3].blocks[0].norm1,
    ]
    ours = vitcam.compare(model, images, names, targets=targets)
    for name, module, side in zip(names, modules, (7, 7, 28, 4), strict=True):
        kind = getattr(reference, NAMES[name.partition("(")[0]])
        cam = kind(model, [module], reshape_transform=lambda x: x.permute(0, 3, 1, 2))
        assert ours[name].heatmaps.shape == (2, 1, side, side)
        assert close(ours[name].heatmaps[:, 0], by_reference(cam, images, targets)), name
