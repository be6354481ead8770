"""The model that comes with vitcam."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms

from vitcam.errors import ModelError
from vitcam.models import LoadedModel, load_model

SHARED = Path(os.environ.get("VITCAM_SHARED", Path(__file__).parents[2] / ".." / "shared"))
PHOTOS = SHARED / "data" / "photos"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("embedded:photo")


def test_it_is_what_its_card_says(model: LoadedModel) -> None:
    assert model.class_names is not None
    assert model.wordnet_ids is not None
    assert len(model.class_names) == len(model.wordnet_ids) == 62
    assert model.class_names[model.class_index("n02085620")] == "dog"
    assert sum(parameter.numel() for parameter in model.module.parameters()) == pytest.approx(
        10.9e6, rel=0.01
    )
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}
    assert not model.module.training
    with torch.inference_mode():
        assert model.module(model.preprocess(Image.new("RGB", (300, 200)))).shape == (1, 62)
        assert model.module(torch.zeros(1, 3, 112, 140)).shape == (1, 62)


def test_it_is_loaded_quickly(model: LoadedModel) -> None:
    start = time.process_time()  # the imports are behind
    load_model("embedded:photo")
    assert time.process_time() - start < 1.5  # a quarter of a second on an idle machine


def test_its_images_are_prepared_as_its_card_says(model: LoadedModel) -> None:
    image = Image.effect_noise((300, 200), 80).convert("RGB")
    expected = transforms.Compose(
        [
            transforms.Resize((168, 168), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(image)
    torch.testing.assert_close(model.preprocess(image)[0], expected)


def test_random_weights_on_request(model: LoadedModel) -> None:
    random = load_model("embedded:photo", pretrained=False)
    assert not torch.equal(random.module.head.weight, model.module.head.weight)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photographs in ../shared/data, which aren't there")
@pytest.mark.parametrize(
    ("photo", "name"),
    [
        ("000000000263", "elephant"),
        ("000000000312", "elephant"),
        ("000000000194", "pizza"),
        ("000000000397", "pizza"),
        ("000000000450", "pizza"),
        ("000000000471", "bus"),
        ("000000000641", "bus"),
    ],
)
def test_it_recognises_photographs(model: LoadedModel, photo: str, name: str) -> None:
    with torch.inference_mode():
        logits = model.module(model.preprocess(PHOTOS / f"{photo}.jpg"))
    assert int(logits.argmax()) == model.class_index(name)


def test_there_is_no_other() -> None:
    with pytest.raises(ModelError, match=r"embedded has no model called 'foto'\. Nearest: photo"):
        load_model("embedded:foto")
