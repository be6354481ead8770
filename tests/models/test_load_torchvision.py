"""torchvision's models, with weights of their own or of a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision import models

from vitcam.errors import ModelError
from vitcam.models import load_model


def test_random_weights() -> None:
    model = load_model("torchvision:vit_b_32", pretrained=False)
    assert type(model.module) is models.VisionTransformer
    assert not model.module.training
    assert model.preprocessing.size == (224, 224)
    assert model.preprocessing.resize == (256, 256)
    assert model.class_names is not None
    assert model.class_names[281] == "tabby"
    assert model.wordnet_ids is not None
    assert model.wordnet_ids[281] == ("n02123045",)
    with torch.inference_mode():
        assert model.module(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_named_weights_decide_the_input_size() -> None:
    with torch.device("meta"):
        model = load_model("torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1", pretrained=False)
    assert model.preprocessing.size == (384, 384)
    assert model.module.image_size == 384


def test_a_head_of_another_size_has_no_names() -> None:
    model = load_model("torchvision:resnet18", pretrained=False, num_classes=7)
    assert model.class_names is None
    assert model.wordnet_ids is None
    assert model.module.fc.out_features == 7


@pytest.mark.parametrize("classes", [10, 1000])
def test_a_checkpoint(tmp_path: Path, classes: int) -> None:
    reference = models.get_model(
        "squeezenet1_1" if classes == 0 else "mobilenet_v3_small", num_classes=classes
    )
    path = tmp_path / "mine.pth"
    torch.save(reference.eval().state_dict(), path)
    model = load_model(f"torchvision:mobilenet_v3_small@{path}")
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model.module(images), reference(images), rtol=0, atol=0)
    assert (model.class_names is None) == (classes == 10)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(models.resnet18().state_dict(), path)
    with pytest.raises(ModelError) as caught:
        load_model(f"torchvision:mobilenet_v3_small@{path}")
    assert "the weights don't fit the model.\n" in str(caught.value)
    assert "Missing key(s) in state_dict" in str(caught.value)
    assert "Unexpected key(s) in state_dict" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_b_61", r"torchvision has no model called 'vit_b_61'\. Nearest: vit_b_16, "),
        (
            "vit_b_16/IMAGENET",
            r"torchvision has no weights for vit_b_16 called 'IMAGENET'\. Nearest: IMAGENET1K_V1",
        ),
        ("fasterrcnn_resnet50_fpn", r"torchvision has no model called"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"Can't load torchvision:{name}: {message}"):
        load_model(f"torchvision:{name}")
