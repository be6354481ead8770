"""Each declaration against the vendor's own transform, on photographs of every shape."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision import models, transforms

from vitcam.errors import ImageError, ModelError
from vitcam.models import preprocessing
from vitcam.models.from_open_clip import open_clip_preprocessing
from vitcam.models.from_timm import timm_preprocessing
from vitcam.models.from_torchvision import torchvision_preprocessing
from vitcam.models.preprocessing import Preprocessing, ResizeMode
from vitcam.models.processor import processor_preprocessing
from vitcam.models.spec import Spec

SHAPES = [(427, 284), (285, 427), (300, 300), (90, 61), (225, 259)]
SPEC = Spec("hf", "test")


@cache
def photograph(width: int, height: int) -> Image.Image:
    """Smooth shading with texture on it, so that both a shift and a wrong filter show."""
    y, x = np.mgrid[:height, :width]
    shading = np.stack([x / width, y / height, (x + y) / (width + height)], axis=-1)
    texture = np.random.default_rng(0).random((height, width, 3))
    return Image.fromarray((255 * (0.5 * shading + 0.5 * texture)).astype(np.uint8))


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("input_size", [(3, 224, 224), (3, 96, 160)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("crop_pct", "interpolation"), [(0.9, "bilinear"), (1.0, "bicubic")])
def test_timm(
    size: tuple[int, int], input_size: tuple[int, ...], crop_mode: str, crop_pct: float, interpolation: str
) -> None:
    config: dict[str, Any] = timm.data.resolve_data_config(
        {
            "input_size": input_size,
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
            "interpolation": interpolation,
        }
    )
    image = photograph(*size)
    assert_same(timm_preprocessing(config)(image), timm.data.create_transform(**config)(image))


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_patch16_224",
        "deit3_base_patch16_384",
        "vit_small_patch14_dinov2",
        "vit_base_patch16_siglip_224",
    ],
)
def test_timm_models(name: str) -> None:
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    image = photograph(427, 284)
    assert_same(timm_preprocessing(config)(image), timm.data.create_transform(**config)(image))


def test_a_model_of_other_than_rgb_images_is_refused() -> None:
    config = timm.data.resolve_data_config({"in_chans": 1, "mean": [0.5], "std": [0.5]})
    with pytest.raises(ModelError, match="a model of RGB images, got one of 1 channels"):
        timm_preprocessing(config)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(
    "weights",
    [
        models.ViT_B_16_Weights.IMAGENET1K_V1,
        models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1,
        models.Swin_T_Weights.IMAGENET1K_V1,
        models.ResNet50_Weights.IMAGENET1K_V2,
    ],
)
def test_torchvision(size: tuple[int, int], weights: Any) -> None:
    image = photograph(*size)
    assert_same(torchvision_preprocessing(weights.transforms())(image), weights.transforms()(image))


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(
    "processor",
    [
        transformers.ViTImageProcessor(),
        transformers.DeiTImageProcessor(),
        transformers.BeitImageProcessor(),
        transformers.BitImageProcessor(
            size={"shortest_edge": 256}, image_mean=[0.4] * 3, image_std=[0.2] * 3
        ),
        transformers.CLIPImageProcessor(),
        transformers.SiglipImageProcessor(size={"height": 160, "width": 256}),
        transformers.DINOv3ViTImageProcessor(),
        transformers.ViTImageProcessor(do_normalize=False),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_hugging_face(size: tuple[int, int], processor: Any) -> None:
    image = photograph(*size)
    theirs = processor(images=image, return_tensors="pt")["pixel_values"][0]
    # the processors fold 1/255 into mean and std: another order of float32 operations
    torch.testing.assert_close(processor_preprocessing(SPEC, processor)(image), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "processor",
    [
        transformers.ConvNextImageProcessor(),
        transformers.CLIPImageProcessor(do_center_crop=False),
        transformers.ViTImageProcessor(do_resize=False),
        transformers.ViTImageProcessor(do_rescale=False),
    ],
)
def test_a_processor_that_does_something_else_is_refused(processor: Any) -> None:
    name = type(processor).__name__
    with pytest.raises(
        ModelError, match=rf"hf:test: its image processor \({name}\) prepares .*LoadedModel\(module"
    ):
        processor_preprocessing(SPEC, processor)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("input_size", [224, (224, 224), (96, 160)])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_open_clip(size: tuple[int, int], input_size: Any, resize_mode: str, interpolation: str) -> None:
    config = PreprocessCfg(
        size=input_size, resize_mode=resize_mode, interpolation=interpolation, fill_color=7
    )
    image = photograph(*size)
    theirs = image_transform_v2(config, is_train=False)(image)
    assert_same(open_clip_preprocessing(vars(config))(image), theirs)


def test_the_papers_protocol() -> None:
    image = photograph(427, 284)
    theirs = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.5] * 3, std=[0.5] * 3),
        ]
    )(image)
    assert_same(Preprocessing.paper()(image), theirs)


def declared(**settings: Any) -> Preprocessing:
    return Preprocessing(size=(96, 96), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), **settings)


DECLARATIONS = [
    declared(),
    declared(resize=(110, 110)),
    declared(resize_mode="shortest"),
    declared(resize_mode="shortest", resize=(110, 120)),
    declared(resize_mode="longest", fill=(255, 255, 255)),
    declared(resize_mode="shortest", resize=(110, 110), arithmetic="uint8"),
    declared(resize_mode="shortest", resize=(111, 111), arithmetic="float32"),
]


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (250, 250)])
@pytest.mark.parametrize("preprocessing", DECLARATIONS)
def test_the_region_is_what_the_view_shows(preprocessing: Preprocessing, size: tuple[int, int]) -> None:
    width, height = size
    y, x = np.mgrid[:height, :width]
    ruler = Image.fromarray(np.stack([x * 250 / width, y * 250 / height, 0 * x], axis=-1).astype(np.uint8))
    box = preprocessing.region(size)
    view = np.asarray(preprocessing.view(ruler), dtype=float)
    assert view.shape == (96, 96, 3)
    for row, column in ((48, 48), (30, 60), (70, 40)):  # away from borders
        seen_x, seen_y = view[row, column, :2] / 250 * (width, height)
        expected_x = box.left + (column + 0.5) / 96 * box.width
        expected_y = box.top + (row + 0.5) / 96 * box.height
        assert abs(seen_x - expected_x) < 2
        assert abs(seen_y - expected_y) < 2


@pytest.mark.parametrize("preprocessing", DECLARATIONS)
def test_the_view_is_the_input_before_normalisation(preprocessing: Preprocessing) -> None:
    image = photograph(300, 200)
    prepared = preprocessing(image)
    back = prepared * torch.tensor(preprocessing.std)[:, None, None]
    back = back + torch.tensor(preprocessing.mean)[:, None, None]
    view = torch.from_numpy(np.array(preprocessing.view(image))).permute(2, 0, 1) / 255
    torch.testing.assert_close(view, back.clamp(0, 1), rtol=0, atol=0.5 / 255 + 1e-6)


def test_padding_is_a_region_beyond_the_photograph_and_a_border_in_the_view() -> None:
    preprocessing = declared(resize_mode="longest", fill=(255, 0, 0))
    box = preprocessing.region((192, 96))
    assert (box.left, box.top, box.right, box.bottom) == (0, -48, 192, 144)
    view = preprocessing.view(Image.new("RGB", (192, 96), "blue"))
    assert view.getpixel((5, 23)) == (255, 0, 0)
    assert view.getpixel((5, 24)) == (0, 0, 255)


@pytest.mark.parametrize("size", [(100_000, 3), (3, 100_000)])
def test_very_elongated_images(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    assert declared()(image).shape == (3, 96, 96)
    assert declared(resize_mode="longest")(image).shape == (3, 96, 96)
    with pytest.raises(ImageError, match=rf"{size[0]}×{size[1]} is too elongated .* resized to"):
        declared(resize_mode="shortest")(image)


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("size", [(9000, 30), (30, 9000), (1200, 60), (900, 900)])
def test_what_is_seen_of_an_elongated_image_stays_small(
    mode: ResizeMode, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for limited in (Image, preprocessing):
        monkeypatch.setattr(limited, "MAX_IMAGE_PIXELS" if limited is Image else "MAX_PIXELS", 1_000_000)
    image = Image.new("RGB", size, "white")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's, of a bomb
        seen = declared(resize_mode=mode).seen(image)
    assert seen.width * seen.height <= 1_000_000
    box = declared(resize_mode=mode).region(size)
    assert seen.width / seen.height == pytest.approx(box.width / box.height, rel=0.1)
    lit = np.asarray(seen).any(axis=2)
    share = size[0] * size[1] / (box.width * box.height) if mode == "longest" else 1
    assert lit.mean() == pytest.approx(share, rel=0.1)


def test_the_size_after_resizing_is_limited_too() -> None:
    large = replace(declared(resize_mode="shortest"), size=(1024, 1024))
    with pytest.raises(ImageError, match=r"3000×100 is too elongated .* resized to 30720×1024"):
        large(Image.new("RGB", (3000, 100)))
    assert large(Image.new("RGB", (300, 200))).shape == (3, 1024, 1024)
