"""Numbers that a model gives: recognised as such, explained as they are, up and down."""

from __future__ import annotations

import answer_models as models
import pytest
import torch
import transformers

import vitcam
from small_models import perturbed
from vitcam.errors import TargetError, VitcamError
from vitcam.photos import photo_path


def vit(names, problem="regression"):
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=models.SIDE,
        patch_size=models.CELL,
        id2label=dict(enumerate(names)),
        problem_type=problem,
    )
    torch.manual_seed(0)
    return perturbed(transformers.ViTForImageClassification(config)).eval()


def of_column(model, column, sign=1):
    return vitcam.explain(model, models.noise(2), targets=lambda output: sign * output.logits[:, column])


def same(one, other):
    torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_regression_is_explained_as_its_value(direction):
    model, images = vit(["age"]), models.noise(2)
    e = vitcam.explain(model, images, direction=direction)
    same(e, of_column(model, 0, 1 if direction == "up" else -1))
    with torch.no_grad():
        values = model(images).logits[:, 0].tolist()
    assert [row[0].value for row in e.answered] == pytest.approx(values, rel=1e-5)
    assert e.label(1) == ("age" if direction == "up" else "age, down")
    with pytest.raises(VitcamError, match="no probabilities"):
        e.probabilities  # noqa: B018
    with pytest.raises(TargetError, match="no class here"):
        vitcam.explain(model, images, score="probability")


def test_of_several_numbers_each_is_a_target_and_none_is_the_most_probable():
    model, images = vit(["width", "height", "age"]), models.noise(2)
    e = vitcam.explain(model, images)
    assert [e.label(0, t) for t in range(3)] == ["width", "height", "age"]
    for targets in (1, "height", torch.tensor(1), vitcam.value(1)):
        same(vitcam.explain(model, images, targets=targets), of_column(model, 1))
    for targets in ("top2", [0, 1], torch.tensor([[0, 1], [1, 2]])):
        with pytest.raises(TargetError, match=r"gives numbers and no classes .* vitcam\.value"):
            vitcam.explain(model, images, targets=targets)
    # Nothing of this holds for classes.
    classes = vit(["width", "height", "age"], problem=None)
    assert vitcam.explain(classes, images, targets="top2").logits.shape == (2, 3)


def test_a_single_logit_is_a_probability_unless_it_is_a_regression():
    model, images = vit(["tumour"], problem=None), models.noise(2)
    e = vitcam.explain(model, images, score="probability", direction="down")
    same(e, vitcam.explain(model, images, targets=lambda output: -output.logits[:, 0].sigmoid()))
    with torch.no_grad():
        torch.testing.assert_close(e.probabilities, model(images).logits.sigmoid())


def test_as_it_was_saved(tmp_path):
    model = vit(["age"])
    model.save_pretrained(tmp_path)
    size = {"height": models.SIDE, "width": models.SIDE}
    transformers.ViTImageProcessor(size=size).save_pretrained(tmp_path)
    loaded = vitcam.load_model(f"hf:{tmp_path}")
    e = vitcam.explain(loaded, photo_path("cat"), "gae")
    assert e.label() == "age"
    same(e, vitcam.explain(model, loaded.preprocess([photo_path("cat")]), "gae", vitcam.value(0)))
