"""A loaded model takes the preprocessing of other libraries, and says why if it can't."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchvision
import transformers
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

import vitcam
from small_models import HomemadeViT
from vitcam.errors import ModelError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def photograph(width, height):
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def hugging_face(kind, **options):
    return getattr(transformers, kind)(**options)


OF_LIBRARIES = {
    "hf vit": lambda: hugging_face("ViTImageProcessor", size={"height": 64, "width": 96}),
    "hf clip": lambda: hugging_face("CLIPImageProcessor"),
    "hf deit": lambda: hugging_face("DeiTImageProcessor"),
    "hf without normalisation": lambda: hugging_face("BeitImageProcessor", do_normalize=False),
    "torchvision, tensor first": lambda: transforms.Compose(
        [transforms.ToTensor(), transforms.Resize((64, 64))]
    ),
    "torchvision, usual": lambda: transforms.Compose(
        [
            transforms.Resize(72),
            transforms.CenterCrop(64),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    ),
    "torchvision v2": lambda: v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((48, 64), interpolation=v2.InterpolationMode.BICUBIC),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    ),
    "torchvision preset": lambda: torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1.transforms(),
    "timm": lambda: timm.data.create_transform(
        (3, 112, 112), interpolation="bicubic", crop_pct=0.9, mean=MEAN, std=STD
    ),
    "timm with a border": lambda: timm.data.create_transform(
        (3, 64, 64), crop_pct=1.0, crop_mode="border", interpolation="bicubic", mean=(0.5,) * 3
    ),
    "open_clip": lambda: open_clip.image_transform(64, is_train=False),
    "a function": lambda: lambda image: torch.from_numpy(np.array(image.resize((32, 48)))).permute(2, 0, 1),
}


@pytest.mark.parametrize("name", OF_LIBRARIES)
def test_gives_what_the_librarys_own_gives(name):
    theirs = OF_LIBRARIES[name]()
    model = vitcam.LoadedModel(HomemadeViT(), theirs)
    for size in ((120, 80), (75, 101), (333, 50)):
        image = photograph(*size)
        if name.startswith("hf"):
            expected = theirs(images=image, return_tensors="pt")["pixel_values"][0]
        else:
            expected = theirs(image).float()
        scale = 255 if name == "a function" else 1
        torch.testing.assert_close(model.preprocess([image])[0] / scale, expected / scale, atol=1e-3, rtol=0)


def test_a_processor_of_images_and_texts_is_asked_for_images():
    class Processor:
        image_processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64})

    assert vitcam.LoadedModel(HomemadeViT(), Processor()).preprocessing.size == (64, 64)


def test_photographs_are_explained_and_drawn_as_with_a_declaration():
    photo = photograph(120, 80)
    declared = vitcam.LoadedModel(HomemadeViT(), vitcam.Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3))
    adopted = vitcam.LoadedModel(
        HomemadeViT(),
        transforms.Compose(
            [transforms.Resize((64, 64)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        ),
    )
    one, other = (vitcam.explain(model, [photo]) for model in (declared, adopted))
    torch.testing.assert_close(one.heatmaps, other.heatmaps)
    assert other.overlay().size == one.overlay().size == (120, 80)


def test_the_random_state_stays_as_it_was():
    module, before = HomemadeViT(), torch.random.get_rng_state()
    vitcam.LoadedModel(module, OF_LIBRARIES["torchvision, usual"]())
    assert torch.equal(torch.random.get_rng_state(), before)


def raises(image):
    raise ValueError("no such luck")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            transforms.Compose([transforms.RandomResizedCrop(64), transforms.ToTensor()]),
            "Compose doesn't give the same input for the same photograph each time.*of evaluation",
        ),
        (
            transforms.Compose([transforms.Resize(64), transforms.ToTensor()]),
            r"gives inputs of several sizes \(64×86, 86×64\).*Add a crop",
        ),
        (
            transforms.Compose([transforms.ToTensor(), transforms.Resize((64, 64), antialias=False)]),
            "no words for: .*declare what its input is",
        ),
        (transforms.Resize((64, 64)), r"must turn a photograph into a float tensor.*it gave .*Image"),
        (lambda image: torch.zeros(1, 8, 8), r"it gave a tensor of shape \(1, 8, 8\)"),
        (lambda image: torch.zeros(3, 8, 8), "makes white pixels no brighter than black"),
        (
            raises,
            "raises, given to LoadedModel as its preprocessing, failed on an RGB PIL image: no such luck",
        ),
        ("imagenet", "must be a vitcam.Preprocessing, a Hugging Face image processor.*got 'imagenet'"),
    ],
)
def test_what_can_not_be_declared_is_refused_with_the_reason(given, message):
    with pytest.raises(ModelError, match=message):
        vitcam.LoadedModel(HomemadeViT(), given)


def test_without_preprocessing_tensors_are_explained_and_photographs_refused():
    model = vitcam.LoadedModel(HomemadeViT(), None, class_names=("a", "b", "c", "d", "e"))
    assert vitcam.explain(model, torch.randn(1, 3, 32, 32), targets="b").heatmaps.shape == (1, 1, 4, 4)
    with pytest.raises(ModelError, match=r"this LoadedModel has no preprocessing .*photographs can't"):
        vitcam.explain(model, photograph(9, 9))
    with pytest.raises(ModelError, match="has no preprocessing"):
        model.preprocess(photograph(9, 9))
    again = replace(copy.deepcopy(model), class_names=None)
    assert again.preprocessing == model.preprocessing
    assert repr(again.preprocessing) == "None"
