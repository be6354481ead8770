"""PyTorch datasets as data to evaluate on."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from vitcam.errors import DatasetError
from vitcam.evaluation import evaluate
from vitcam.evaluation.datasets import torch_dataset
from vitcam.evaluation.datasets.digests import annotation_digest
from vitcam.photos import photo_path
from vitcam.types import Box

SIZE = (24, 16)


class Items(torch.utils.data.Dataset):
    """Pictures of noise, by their number, with what stands behind them."""

    classes = ("cat", "cup")

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_images_of_every_kind_are_the_same_picture():
    image = picture()
    array = np.array(image)
    chw = torch.from_numpy(array.copy()).movedim(-1, 0)
    dataset = torch_dataset(Items((image, 0), (array, 1), (chw, torch.tensor(1)), (chw / 255, np.int64(0))))
    assert [sample.labels for sample in dataset] == [(0,), (1,), (1,), (0,)]
    for sample in dataset:
        assert (sample.width, sample.height) == SIZE
        np.testing.assert_array_equal(np.array(sample.image()), array)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_those_that_boxes_are_in_whatever_rotation_the_file_asked_for(orientation):
    """A PIL image keeps the EXIF data of its file, through ``convert`` too; its boxes are in its own pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture().save(file, "PNG", exif=exif)
    image = Image.open(file)
    for each in (image, image.convert("RGB")):
        (sample,) = torch_dataset(Items((each, 0, [[1, 2, 24, 16]])))
        np.testing.assert_array_equal(np.array(sample.image()), np.array(picture()))


def test_boxes_and_masks():
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    mask[2:5, 3:9], mask[0] = 1, 255
    boxes = torch.tensor([[1.0, 2.0, 5.0, 6.5], [0, 0, 24, 16]])
    dataset = torch_dataset(
        Items(
            (picture(), 0, boxes),
            (picture(), 1, mask),
            (picture(), 1, torch.from_numpy(mask == 1)),
            (picture(), 1, Image.fromarray(mask)),
            (picture(), 0, None),
        )
    )
    boxed, masked, booleans, drawn, plain = dataset
    assert boxed.boxes == (Box(1, 2, 5, 6.5), Box(0, 0, 24, 16))
    assert boxed.boxes_of(0) == boxed.boxes
    assert boxed.mask() is None
    for sample in (masked, booleans, drawn):
        np.testing.assert_array_equal(sample.mask(), mask == 1)
        assert not sample.mask(0).any()
    np.testing.assert_array_equal(masked.void(), mask == 255)
    assert not booleans.void().any()
    assert plain.boxes == ()
    assert plain.mask() is None
    assert len({annotation_digest(sample) for sample in dataset}) == 5


def test_another_mask_or_label_is_another_dataset():
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    other = mask.copy()
    other[0, 0] = True
    prints = {
        torch_dataset(Items((picture(), *rest))).fingerprint for rest in ((0,), (1,), (0, mask), (0, other))
    }
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (torch.zeros(3, 4, 4), "item 0 is a Tensor; expected (image, label)"),
        ((picture(), 0, None, None), "item 0 is a tuple; expected (image, label)"),
        ((picture(), 2), "expected a label from 0 to 1, got 2"),
        ((picture(), -1), "expected a label from 0 to 1, got -1"),
        ((picture(), torch.tensor([0, 1])), "expected a label from 0 to 1"),
        ((picture(), True), "expected a label from 0 to 1, got True"),
        ((picture(), 0.0), "expected a label from 0 to 1, got 0.0"),
        (
            (torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0)), 0),
            "leave out transforms that normalise",
        ),
        ((picture(), 0, np.zeros((16, 23))), "expected boxes (boxes, 4) or a mask (16, 24) as its image"),
        ((picture(), 0, np.full((16, 24), 7)), "a mask holds 0, 1 and 255; got [7]"),
        ((picture(), 0, [[5, 2, 1, 6]]), "isn't left, top, right, bottom within 24×16 pixels"),
        ((picture(), 0, [[0, 0, 25, 6]]), "isn't left, top, right, bottom within 24×16 pixels"),
    ],
)
def test_what_is_no_item_is_named(item, message):
    with pytest.raises(DatasetError) as caught:
        torch_dataset(Items(item))
    assert message in str(caught.value)


def test_random_transforms_are_refused():
    class Augmented(Items):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image.rotate(int(torch.randint(1, 360, ()))), label

    with pytest.raises(
        DatasetError, match="isn't the same when it is read again: leave out random transforms"
    ):
        torch_dataset(Augmented((picture(), 0)))


def test_classes_need_names():
    items = Items((picture(), 0))
    items.classes = None
    with pytest.raises(DatasetError, match=r"no names: give them, as in torch_dataset\(data, classes="):
        torch_dataset(items)
    assert torch_dataset(items, classes=["dog"]).classes[0].name == "dog"
    with pytest.raises(DatasetError, match="a torch Dataset with __getitem__ and __len__; got int"):
        torch_dataset(3)


def test_it_can_be_sent_to_a_worker():
    dataset = torch_dataset(Items((picture(), 0, np.ones(SIZE[::-1], dtype=bool))))
    sent = pickle.loads(pickle.dumps(dataset))
    assert sent.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(np.array(sent[0].image()), np.array(dataset[0].image()))


def test_it_is_evaluated_and_gone_on_with(tmp_path):
    cat, cup = (Image.open(photo_path(name)).convert("RGB") for name in ("cat", "cup"))
    whole = [[0, 0, *cup.size]]
    items = Items((cat, 0, [[0, 0, *cat.size]]), (cup, 1, whole))
    seen = []
    options = {"tests": ["iou"], "progress": seen.append}
    summary = evaluate("localization", items, "embedded:photo", ["agcam"], tmp_path / "run", **options)
    assert summary["localization"]["agcam"]["images"] == 2
    assert [each.done for each in seen] == [0, 2]
    told = []
    again = evaluate(
        "localization", items, "embedded:photo", ["agcam"], tmp_path / "run", tests=["iou"], tell=told.append
    )
    assert again == summary
    assert any("2 of 2 images" in sentence for sentence in told)
