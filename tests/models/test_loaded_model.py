"""Loaded models: class names to indices, images to inputs, texts to classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from vitcam.errors import ImageError, ModelError, TargetError
from vitcam.models import LoadedModel, Preprocessing
from vitcam.models.imagenet import imagenet_classes, imagenet_wordnet_ids
from vitcam.models.promptable import ImageTower

SMALL = Preprocessing(size=(8, 12), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def named(*class_names: str, ids: tuple[tuple[str, ...], ...] | None = None) -> LoadedModel:
    return LoadedModel(nn.Identity(), SMALL, class_names=class_names or None, wordnet_ids=ids, spec="timm:x")


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tench, Tinca tinca", 0),
        ("TINCA TINCA", 0),
        (" tench ", 0),
        ("crane", 1),
        ("crane, machine", 2),
        ("machine", 2),
        ("n02", 1),
        ("N03", 1),
        ("2", 2),
    ],
)
def test_a_class_is_found_by_any_of_its_names(name: str, index: int) -> None:
    model = named("tench, Tinca tinca", "crane", "crane, machine", ids=(("n01",), ("n02", "n03"), ("n04",)))
    assert model.class_index(name) == index


def test_digits_that_are_a_name_are_that_name() -> None:
    assert named("7", "0").class_index("0") == 1


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (("tabby cat", "dog"), "taby cat", "timm:x has no class called 'taby cat'. Nearest: 'tabby cat'."),
        (("tabby cat", "dog"), "zzzz", "timm:x has no class called 'zzzz'. It has 2 others."),
        (("tabby cat", "dog"), "", "timm:x has no class called ''."),
        (
            ("bird, crane", "crane, lift"),
            "Crane",
            "has several classes called 'Crane'; give the index: 0 or 1.",
        ),
        (("cat", "dog"), "2", "timm:x has 2 classes, 0 to 1; there is no class 2."),
        ((), "cat", "timm:x has no class names, so 'cat' can't be looked up; give the index."),
    ],
)
def test_a_class_that_cannot_be_found(names: tuple[str, ...], wanted: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        named(*names).class_index(wanted)
    assert message in str(caught.value)


def test_an_index_needs_no_names() -> None:
    assert named().class_index("123") == 123


def test_imagenets_classes() -> None:
    names, ids = imagenet_classes(1000) or ((), ())
    assert (names[281], ids[281]) == ("tabby, tabby cat", ("n02123045",))
    model = named(*names, ids=ids)
    assert model.class_index("maillot") == 638
    assert model.class_index("tiger cat") == 282
    assert model.class_index("n02123045") == 281
    with pytest.raises(TargetError, match="several classes called 'crane'; give the index: 134 or 517"):
        model.class_index("crane")
    larger, larger_ids = imagenet_classes(21843) or ((), ())
    assert len(larger) == len(larger_ids) == 21843
    assert imagenet_classes(10) is None


def test_imagenets_ids_are_recognised_by_its_names() -> None:
    names, ids = imagenet_classes(1000) or ((), ())
    first_only = [name.split(",")[0] for name in names]
    assert imagenet_wordnet_ids(first_only) == ids
    assert imagenet_wordnet_ids(first_only[::-1]) is None
    assert imagenet_wordnet_ids(first_only[:999]) is None


def test_images_of_every_kind_become_one_batch(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    path = tmp_path / "a.png"
    image.save(path)
    model = LoadedModel(nn.Linear(1, 1), SMALL)
    batch = model.preprocess([path, str(path), image, array])
    assert batch.shape == (4, 3, 8, 12)
    for one in (path, str(path), image, array):
        torch.testing.assert_close(model.preprocess(one), batch[:1], rtol=0, atol=0)
    torch.testing.assert_close(batch, SMALL(image).expand(4, 3, 8, 12), rtol=0, atol=0)
    assert model.preprocess([]).shape == (0, 3, 8, 12)
    with pytest.raises(ImageError, match=r"gone\.png: there is no such file"):
        model.preprocess([path, tmp_path / "gone.png"])


def test_the_batch_is_on_the_models_device() -> None:
    model = LoadedModel(nn.Linear(1, 1, device="meta"), SMALL)
    assert model.preprocess(Image.new("RGB", (5, 5))).device.type == "meta"


class Tower(nn.Module):
    """Image features: the mean colour, seen through a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.matrix(images.mean(dim=(2, 3)))


def encode(texts: object) -> Tensor:
    rows = [torch.tensor([len(text), *map(ord, text[:4])], dtype=torch.float64) for text in texts]  # type: ignore[attr-defined]
    return nn.functional.normalize(torch.stack(rows), dim=-1)


@pytest.mark.parametrize("bias", [None, torch.tensor(-3.0)])
def test_prompts_become_classes(bias: Tensor | None) -> None:
    tower = Tower()
    clip = LoadedModel(
        ImageTower(tower, torch.tensor(20.0), bias).eval(), SMALL, text_encoder=encode, spec="x:y"
    )
    assert clip.promptable
    texts = ["a cat", "some dog", "bird"]
    asked = clip.with_prompts(texts)
    assert (asked.class_names, asked.class_index("Some Dog"), asked.spec) == (tuple(texts), 1, "x:y")
    images = torch.randn(2, 3, 8, 12)
    cosine = nn.functional.cosine_similarity(tower(images)[:, None], encode(texts).float()[None], dim=-1)
    expected = 20 * cosine + (0 if bias is None else bias)
    torch.testing.assert_close(asked.module(images), expected)
    assert not asked.module.training
    assert asked.promptable
    again = asked.with_prompts("only this")
    assert again.module(images).shape == (2, 1)
    assert asked.module(images).shape == (2, 3)


def test_a_promptable_model_asks_for_prompts() -> None:
    clip = LoadedModel(ImageTower(Tower(), torch.tensor(1.0)), SMALL, text_encoder=encode)
    with pytest.raises(
        ModelError, match=r"has no classes of its own\. Say which texts: model\.with_prompts\(\["
    ):
        clip.module(torch.zeros(1, 3, 8, 12))
    for nothing in ([], [""], ["cat", " "]):
        with pytest.raises(TargetError, match="Expected texts such as 'a photo of a cat', got"):
            clip.with_prompts(nothing)


def test_a_classifier_takes_no_prompts() -> None:
    assert not named("cat").promptable
    with pytest.raises(ModelError, match="timm:x can't be asked about texts: it has classes of its own"):
        named("cat").with_prompts(["a cat"])


def test_a_tower_that_also_returns_its_tokens() -> None:
    class Both(Tower):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # as CoCa's does
            return super().forward(images), images

    tower = ImageTower(Both(), torch.tensor(1.0))
    assert tower.encode(torch.randn(2, 3, 8, 8)).norm(dim=1).tolist() == pytest.approx([1, 1])
