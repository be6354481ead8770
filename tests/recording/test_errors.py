"""What can't be explained is refused with the reason and the way out."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

import vitcam
from families import images_of, model_of
from vitcam.errors import ImageError, MethodError, ModelError, TargetError


@pytest.fixture(scope="module")
def vit():
    return model_of("timm vit")


def vit_images(batch=2):
    return images_of("timm vit", batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: x[0],
            r"must be \(batch, 3, height, width\); got \(3, 224, 224\). Add a batch: images\[None\]",
        ),
        (lambda x: x[:0], "non-empty tensor"),
        (lambda x: x.permute(0, 2, 3, 1), "channels last. Use images.permute"),
        (lambda x: (x * 255).byte(), "normalised float tensor; got torch.uint8"),
        (lambda x: x.index_fill(0, torch.tensor([1]), torch.nan), "image 1 of the batch holds NaN"),
    ],
)
def test_bad_tensors(vit, change, message):
    with pytest.raises(ImageError, match=message):
        vitcam.explain(vit, change(vit_images()))


def test_size_that_the_model_does_not_take(vit):
    with pytest.raises(ModelError, match=r"itself failed on images of shape \(3, 64, 64\).*doesn't match"):
        vitcam.explain(vit, torch.randn(1, 3, 64, 64))


def test_a_model_that_fails_behind_its_first_attention(vit):
    broken = copy.deepcopy(vit)
    broken.blocks[0].mlp = nn.LayerNorm(7)
    with pytest.raises(
        ModelError, match=r"VisionTransformer itself failed on images of shape .*normalized_shape.*Give it"
    ):
        vitcam.explain(broken, vit_images(), targets=vitcam.value(1))


def test_photographs_need_a_loaded_model(vit, tmp_path):
    with pytest.raises(ImageError, match=r"bare nn.Module.*vitcam.load_model"):
        vitcam.explain(vit, tmp_path / "cat.jpg")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (1000, "class index 1000 is out of range; this model has 1000 classes, 0 to 999"),
        (-1, "class index -1 is out of range"),
        ([1, 2, 3], r"targets of shape \(3,\) don't fit 2 images"),
        ([[1, 2], [3]], "same number of targets"),
        ([], "don't fit"),
        ("cat", "no class names, so 'cat' can't be looked up"),
        ("top0", "'top0' asks for no class"),
        (torch.tensor([1.0, 2.0]), "must be integers"),
        (True, "not True"),
        (lambda logits: logits.argmax(1), "must return a float tensor"),
        (lambda logits: logits[:1, 0], "for 2 images"),
    ],
)
def test_bad_targets(vit, targets, message):
    with pytest.raises(TargetError, match=message):
        vitcam.explain(vit, vit_images(), targets=targets)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("agcm", {}, "no method 'agcm'. Did you mean 'agcam'"),
        ("nonsense", {}, "The methods are agcam"),
        ("agcam", {"layer": 1}, "agcam has no option 'layer'"),
        ("attention(layer=99)", {}, "no layer=99; this model's layers are 0 to 3"),
        ("attention(3)", {}, r"can't read the method 'attention\(3\)'"),
        ("attention(layer=os)", {}, "can't read the method"),
        ("random", {"seed": -1}, "non-negative integer as seed, not -1"),
        ("center", {"width": 0}, "positive width"),
    ],
)
def test_bad_methods(vit, method, options, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(vit, vit_images(), method=method, **options)


@pytest.mark.parametrize("methods", ["agcam", [], ["agcam", "agcam"]])
def test_bad_lists_of_methods(vit, methods):
    with pytest.raises(MethodError, match=r"list of method names|given twice"):
        vitcam.compare(vit, vit_images(), methods=methods)


def test_model_without_attention():
    model = timm.create_model("resnet18")
    with pytest.raises(ModelError, match=r"no attention was seen: ResNet .*fused_attn=True.*sdpa"):
        vitcam.explain(model, torch.randn(1, 3, 64, 64))


def test_hierarchical_model_names_the_methods_that_work():
    model = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 2, 1), num_classes=5)
    images = torch.randn(1, 3, 224, 224)
    with pytest.raises(MethodError, match=r"agcam isn't defined for SwinTransformer.*random, center"):
        vitcam.explain(model, images)
    assert vitcam.explain(model, images, method="center").heatmaps.shape == (1, 1, 7, 7)


def test_score_that_does_not_depend_on_attention(vit):
    with pytest.raises(ModelError, match="gradient of the score that `targets` computes is exactly zero"):
        vitcam.explain(vit, vit_images(), targets=lambda logits: logits[:, 0] * 0.0)


def test_head_of_zeros():
    model = timm.create_model("vit_tiny_patch16_224", depth=2)
    nn.init.zeros_(model.head.weight)
    with pytest.raises(ModelError, match=r"the logit of class 3 is exactly zero.*initialised with zeros"):
        vitcam.explain(model, vit_images(), targets=3)


def test_weights_that_are_not_finite():
    model = timm.create_model("vit_tiny_patch16_224", depth=2)
    nn.init.constant_(model.head.bias, torch.nan)
    with pytest.raises(ModelError, match="logits that aren't finite"):
        vitcam.explain(model, vit_images())


def test_output_without_logits():
    with pytest.raises(ModelError, match=r"BaseModelOutputWithPooling with .*pass `targets` as a function"):
        vitcam.explain(model_of("hf clip vision"), images_of("hf clip vision"))


class Mixed(nn.Module):
    """A ViT whose tokens are all mixed before its first attention."""

    def __init__(self):
        super().__init__()
        self.vit = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=64, num_classes=5)
        self.mix = nn.Linear(16, 16)
        self.vit.patch_embed.register_forward_hook(lambda m, args, out: self.mix(out.mT).mT)

    def forward(self, images):
        return self.vit(images)


def test_grid_is_given_where_it_can_not_be_found(vit):
    model, images = Mixed(), torch.randn(2, 3, 64, 64)
    with pytest.raises(
        ModelError, match=r"the 17 tokens of Mixed.*couldn't be confirmed.*outputs: 4×4.*pass grid"
    ):
        vitcam.explain(model, images)
    assert vitcam.explain(model, images, grid=(2, 8), prefix=1).heatmaps.shape == (2, 1, 2, 8)
    with pytest.raises(ModelError, match=r"10×10 patches after 200 prefix tokens doesn't fit the 17 tokens"):
        vitcam.explain(model, images, grid=(10, 10), prefix=200)


def test_given_grid_that_the_model_does_not_have(vit):
    with pytest.raises(
        ModelError, match=r"grid=\(7, 28\), prefix=1 was given, but VisionTransformer has 14×14 patches"
    ):
        vitcam.explain(vit, vit_images(), grid=(7, 28), prefix=1)
    given = vitcam.explain(vit, vit_images(), grid=(14, 14), prefix=1).heatmaps
    assert torch.equal(given, vitcam.explain(vit, vit_images()).heatmaps)


def test_given_first_block(vit):
    given = vitcam.explain(vit, vit_images(), first_block="blocks.0").heatmaps
    torch.testing.assert_close(given, vitcam.explain(vit, vit_images()).heatmaps)
    with pytest.raises(ModelError, match=r"first_block='blocks.2' doesn't contain.*blocks > blocks.0"):
        vitcam.explain(vit, vit_images(), first_block="blocks.2")
