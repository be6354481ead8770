"""One class versus another, and probabilities as scores."""

from __future__ import annotations

import copy
import re
import zlib
from functools import cache

import pytest
import timm
import torch
from torch import nn

import vitcam
from small_models import HomemadeViT, perturbed
from vitcam.errors import MethodError, ModelError, TargetError
from vitcam.methods import METHODS
from vitcam.models.promptable import ImageTower
from vitcam.photos import photo_path

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
# One of captum's stands for all. random's noise belongs to a class, finercam has a score of its own, lrp refuses.
LIGHT = ("occlusion", "reciprocam", "scorecam", "ablationcam", "tam", "bt")
METHOD_NAMES = [
    *(
        name
        for name, method in METHODS.items()
        if method.class_specific
        and name not in ("random", "finercam", "lrp")
        and (not method.many_passes or name in LIGHT)
        and (not name.startswith("captum:") or name == "captum:Saliency")
    ),
    "rise(budget=8, output='logit')",
    "shapley(budget=62)",
]


@pytest.fixture(scope="module")
def photo():
    return vitcam.load_model("embedded:photo")


@cache
def model_of(pool):
    return perturbed(HomemadeViT(pool=pool))


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_is_the_map_of_the_score_that_it_says(pool):
    """The function of the logits, written out."""
    asked = {
        "versus": (
            {"targets": [[1, 2]] * 2, "versus": 4},
            lambda logits: logits[:, [1, 2]] - logits[:, [4]],
        ),
        "probability": (
            {"targets": [[1, 2]] * 2, "versus": [[4, 0]] * 2, "score": "probability"},
            lambda logits: logits.softmax(1)[:, [1, 2]] - logits.softmax(1)[:, [4, 0]],
        ),
    }
    if pool == "mean":  # what differs is which tokens are read, and probabilities are compared as logits are
        del asked["versus"]
    for options, function in asked.values():
        ours = vitcam.compare(model_of(pool), IMAGES, METHOD_NAMES, **options)
        by_hand = vitcam.compare(model_of(pool), IMAGES, METHOD_NAMES, function)
        for name in METHOD_NAMES:
            scale = float(by_hand[name].heatmaps.abs().max())
            assert scale > 0, name
            torch.testing.assert_close(
                ours[name].heatmaps, by_hand[name].heatmaps, rtol=1e-3, atol=1e-4 * scale, msg=name
            )


def test_what_is_scored_is_said_once():
    text = "output='probability' says how a class is scored, as versus=, score= and direction= do: give"
    with pytest.raises(MethodError, match=re.escape(text)):
        vitcam.explain(model_of("class"), IMAGES, "rise(budget=8)", targets=1, versus=2)


def test_each_image_has_its_own():
    model, names = model_of("class"), ["agcam", "gae", "attnlrp", "captum:Saliency", "ablationcam"]
    both = vitcam.compare(model, IMAGES, names, [1, 3], versus=[4, 0])
    in_turn = vitcam.compare(model, IMAGES, names, [1, 3], versus=[4, 0], batch_size=1)
    alone = vitcam.compare(model, IMAGES[1:], names, 3, versus=0)
    for name in names:
        maps = both[name].heatmaps
        torch.testing.assert_close(maps, in_turn[name].heatmaps, rtol=1e-3, atol=1e-6, msg=name)
        torch.testing.assert_close(maps[1:], alone[name].heatmaps, rtol=1e-3, atol=1e-6, msg=name)
        assert torch.equal(in_turn[name].versus, torch.tensor([[4], [0]]))


def test_finercam_takes_the_class_that_it_is_given():
    model = model_of("mean")
    finer = vitcam.explain(model, IMAGES, "finercam", 1, versus=4)
    torch.testing.assert_close(finer.heatmaps, vitcam.explain(model, IMAGES, "gradcam", 1, versus=4).heatmaps)
    half = vitcam.explain(model, IMAGES, "finercam(strength=0.5)", 1, versus=4)
    by_hand = vitcam.explain(model, IMAGES, "gradcam", lambda logits: logits[:, 1] - 0.5 * logits[:, 4])
    torch.testing.assert_close(half.heatmaps, by_hand.heatmaps)


def test_finercam_compares_with_the_classes_most_alike():
    """The formula written out, image by image and target by target."""
    model = model_of("mean")
    ours = vitcam.explain(model, IMAGES, "finercam(references=2, strength=0.7)", [[1, 2], [0, 3]])
    # What it is compared with belongs to an image, where gradcam's function sees the batch.
    for i, targets in enumerate([[1, 2], [0, 3]]):
        for t, target in enumerate(targets):

            def score(logits, target=target):
                (row,) = logits
                apart = (row - row[target]).detach().abs().tolist()
                others = sorted((y, d) for d, y in enumerate(apart) if d != target)
                p = row.softmax(0)
                near = [d for _, d in others[:2]]
                total = sum(p[d] * (row[target] - 0.7 * row[d]) for d in near)
                return (total / sum(p[d] for d in near))[None]

            expected = vitcam.explain(model, IMAGES[i : i + 1], "gradcam", score).heatmaps[0, 0]
            torch.testing.assert_close(ours.heatmaps[i, t], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "asked",
    [
        {"targets": 1, "versus": 4},
        {"targets": [[1, 2]] * 2, "score": "probability"},
        {"targets": lambda logits: logits[:, 1] - logits[:, 2]},
    ],
)
def test_lrp_refuses_a_score_whose_relevance_adds_up_to_nothing(asked):
    with pytest.raises(
        MethodError, match=r"lrp isn't defined for a score that is a difference .* is rounding"
    ):
        vitcam.explain(model_of("class"), IMAGES, "lrp", **asked)


def test_finercam_refuses_what_is_no_logit_of_a_class():
    model = model_of("mean")
    with pytest.raises(MethodError, match=r"finercam is defined by logits: .*score='probability'"):
        vitcam.explain(model, IMAGES, "finercam", 1, score="probability")
    with pytest.raises(MethodError, match="finercam compares the logits of classes"):
        vitcam.explain(model, IMAGES, "finercam", lambda logits: logits[:, 0])
    with pytest.raises(MethodError, match=r"at least one class.*references=0"):
        vitcam.explain(model, IMAGES, "finercam(references=0)", 1)
    one = perturbed(HomemadeViT(pool="mean", head=nn.Linear(24, 1)))
    with pytest.raises(MethodError, match="has one class alone"):
        vitcam.explain(one, IMAGES, "finercam", 0)


def test_probability_is_a_sigmoid_where_classes_do_not_exclude_each_other(photo):
    model = copy.deepcopy(model_of("class"))
    wrapped = vitcam.LoadedModel(
        model, photo.preprocessing, class_names=tuple("abcde"), multi_label=True, spec="several"
    )
    several = vitcam.explain(wrapped, IMAGES, "gae", 1, score="probability")
    by_hand = vitcam.explain(model, IMAGES, "gae", lambda logits: logits.sigmoid()[:, 1])
    torch.testing.assert_close(several.heatmaps, by_hand.heatmaps)
    single = perturbed(HomemadeViT(head=nn.Linear(24, 1)))
    one = vitcam.explain(single, IMAGES, "gae", 0, score="probability")
    by_hand = vitcam.explain(single, IMAGES, "gae", lambda logits: logits.sigmoid()[:, 0])
    torch.testing.assert_close(one.heatmaps, by_hand.heatmaps)


def test_a_probability_that_is_certain_has_no_gradient():
    model = copy.deepcopy(model_of("class"))
    nn.init.constant_(model.head.bias, -200)
    model.head.bias.data[3] = 200
    with pytest.raises(ModelError, match=r"the gradient of the probability of class 3 is exactly zero"):
        vitcam.explain(model, IMAGES, "agcam", 3, score="probability")


def test_the_explanation_says_what_was_asked(photo, tmp_path):
    images = [photo_path("cat"), photo_path("cup")]
    e = vitcam.explain(photo, images, "gradcam++", ["cat", "cup"], versus="motorcycle", score="probability")
    motorcycle = photo.class_index("motorcycle")
    assert torch.equal(e.versus, torch.tensor([[motorcycle]] * 2))
    assert e.score == "probability"
    assert [e.label(0), e.label(1)] == ["cat versus motorcycle", "cup versus motorcycle"]
    assert repr(e) == (
        "Explanation(gradcam++, 2 images × 1 target, versus another class, of a probability, maps of 12×12)"
    )
    e.save(tmp_path)
    again = vitcam.load(tmp_path)
    assert torch.equal(again.versus, e.versus)
    assert (again.score, again.label(1), again[1:].label(), repr(again)) == (
        "probability",
        "cup versus motorcycle",
        "cup versus motorcycle",
        repr(e),
    )
    plain = vitcam.explain(photo, images[0], "agcam", "cat")
    assert (plain.versus, plain.score, plain.label()) == (None, "logit", "cat")


def test_prompts_of_clip():
    tower = ImageTower(
        timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=8), torch.tensor(9.0)
    )

    def encoded(texts):
        generators = [torch.Generator().manual_seed(zlib.crc32(text.encode())) for text in texts]
        return nn.functional.normalize(torch.stack([torch.randn(8, generator=g) for g in generators]), dim=-1)

    clip = vitcam.LoadedModel(
        tower,
        vitcam.Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3),
        text_encoder=encoded,
        spec="open_clip:tiny",
    )
    e = vitcam.explain(clip, IMAGES, "agcam", ["a cat", "a cup"], versus="a dog")
    assert [e.label(1, 0), e.label(1, 1)] == ["a cat versus a dog", "a cup versus a dog"]
    asked = clip.with_prompts(["a cat", "a cup", "a dog"])
    by_hand = vitcam.explain(asked.module, IMAGES, "agcam", lambda logits: logits[:, :2] - logits[:, [2]])
    torch.testing.assert_close(e.heatmaps, by_hand.heatmaps)
    one = vitcam.explain(clip, IMAGES, "agcam", ["a cat", "a cup"], versus=["a cup", "a cat"])
    torch.testing.assert_close(one.versus, torch.tensor([[1, 0]] * 2))
    with pytest.raises(
        TargetError, match=r"open_clip:tiny has no classes of its own: give a text prompt as versus"
    ):
        vitcam.explain(clip, IMAGES, "agcam", ["a cat"], versus=1)


@pytest.mark.parametrize(
    ("targets", "asked", "message"),
    [
        (1, {"versus": 1}, r"versus is the class that is explained itself, class 1 \(image 0 of the batch\)"),
        ([1, 3], {"versus": [0, 3]}, r"class 3 \(image 1 of the batch\).* Give another one"),
        ([[1, 2, 3]] * 2, {"versus": [[0, 4]] * 2}, r"versus names 2 classes for an image, .* 3 targets"),
        (1, {"versus": 9}, r"class index 9 is out of range"),
        (1, {"versus": "top2"}, r"versus names classes, .*not 'top2'"),
        (1, {"versus": [0, 2, 3]}, r"don't fit 2 images"),
        (1, {"versus": "dog"}, r"no class names, so 'dog' can't be looked up"),
        (1, {"score": "odds"}, r"score must be 'logit' or 'probability', not 'odds'"),
        (lambda y: y[:, 0], {"versus": 1}, r"`targets` is a function here.* versus= has no meaning"),
        (lambda y: y[:, 0], {"score": "probability"}, r"score='probability' has no meaning"),
    ],
)
def test_what_can_not_be_meant(targets, asked, message):
    with pytest.raises(TargetError, match=message):
        vitcam.explain(model_of("class"), IMAGES, "agcam", targets, **asked)


def test_methods_without_classes_refuse():
    for methods in (["agcam", "rollout"], ["center"], ["eigencam"]):
        with pytest.raises(MethodError, match=rf"{methods[-1]} gives the same map for every class"):
            vitcam.compare(model_of("class"), IMAGES, methods, 1, versus=2)
    assert vitcam.explain(model_of("class"), IMAGES, "rollout", 1, score="probability").score == "probability"


def test_functions_of_others_refuse(monkeypatch):
    def brightness(model, images, targets):
        return images.mean(dim=1)

    monkeypatch.setitem(METHODS, "brightness", brightness)
    for asked in ({"versus": 2}, {"score": "probability"}):
        with pytest.raises(MethodError, match="have no meaning for it"):
            vitcam.explain(model_of("class"), IMAGES, "brightness", 1, **asked)


def test_a_method_that_knows_of_one_class_only_refuses(monkeypatch):
    """One of another's, which takes the score as it always did."""

    def own(recording):
        with recording.resumed() as model:
            recording.score.scorer(recording.targets)(model(recording.images))
        raise AssertionError

    from vitcam.methods import Method
    from vitcam.recording import Need

    method = Method(compute=own, needs=lambda options: Need.NOTHING, summary="", passes="", paper="")
    monkeypatch.setitem(METHODS, "own", method)
    with pytest.raises(TargetError, match="takes the score of a class alone"):
        vitcam.explain(model_of("class"), IMAGES, "own", 1, versus=2)
