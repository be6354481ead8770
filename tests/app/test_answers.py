import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from visitors import EMBEDDED, ticket, whole

import vitcam
from vitcam.app.answers import Question, answer, look
from vitcam.app.layers import take_apart
from vitcam.app.model_cache import ModelCache
from vitcam.app.photo_files import PhotoFile, photo_file
from vitcam.app.policy import MAX_CLASSES, policy_for
from vitcam.app.prepared import prepared
from vitcam.app.ranking import LISTED, Case, rank
from vitcam.errors import ImageError, MethodError, ModelError, TargetError, VitcamError
from vitcam.models import load_model
from vitcam.photos import photo_path


def test_the_maps_are_those_of_compare(ask):
    given = ask(1, 42)
    both = vitcam.compare(EMBEDDED, photo_path("cat_and_cup"), ["agcam", "rollout"], [[1, 42]])
    assert list(given.explanations) == ["agcam", "rollout"]
    assert given.names == ["cat", "cup"]
    for name, one in both.items():
        torch.testing.assert_close(given.explanations[name].heatmaps, one.heatmaps)
    assert given.probabilities == pytest.approx(both["agcam"].probabilities[0, [1, 42]].tolist())


def test_nothing_ticked_is_the_predicted_class(ask):
    given = ask(photo="cat")
    assert given.names == ["cat"]
    assert given.ranking.names[0] == "cat"
    assert len(given.ranking.classes) == LISTED
    assert list(given.ranking.probabilities) == sorted(given.ranking.probabilities, reverse=True)


def test_probabilities_of_several_labels_are_those_of_explain():
    model = replace(EMBEDDED, multi_label=True)
    picture = Image.open(photo_path("cat"))
    case = Case(photo_file((str(photo_path("cat")), "")), "embedded:photo")
    ranking = rank(model, case, prepared(model, picture))
    expected = vitcam.explain(model, picture).probabilities[0, list(ranking.classes)]
    assert ranking.probabilities == pytest.approx(expected.tolist())
    assert sum(ranking.probabilities) > 1


def test_typed_classes_are_explained_besides(ask):
    assert ask(42, texts=["CAT", "cup", "0"]).names == ["cup", "cat", "dog"]


def test_a_wrong_class_does_not_stop_the_others(ask):
    given = ask(texts=["catt", "cup", "999"])
    assert given.names == ["cup"]
    wrong, number = given.wrong_classes
    assert "no class called 'catt'. Nearest: 'cat'" in wrong
    assert "there is no class 999" in number
    assert ask(1, texts=["catt"]).names == ["cat"]
    assert ask(1, texts=["cup"]).wrong_classes == ()


def test_what_is_kept_of_a_photograph_is_small(cache, policy, tmp_path):
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "wide.png")
    case = Case(photo_file((str(tmp_path / "wide.png"), "")), "embedded:photo")

    given = whole(answer(Question(case, ("agcam",)), cache, policy, ticket()))
    assert max(given.first.photographs[0].size) <= 1024


def test_prompts_are_the_classes_of_clip(ask):
    given = ask(spec="open_clip:fake", texts=["a cat", "a dog", "a cup"], methods=["agcam"])
    assert sorted(given.names) == ["a cat", "a cup", "a dog"]
    assert sum(given.probabilities) == pytest.approx(1)
    some = ask(2, spec="open_clip:fake", texts=["a cat", "a dog", "a cup"], methods=["agcam"])
    assert some.names == ["a cup"]
    index = given.names.index("a cup")
    torch.testing.assert_close(some.first.heatmaps[0, 0], given.first.heatmaps[0, index])


def test_clip_without_prompts(ask, cache, policy):
    with pytest.raises(TargetError, match=r"no classes of its own. Write the texts, one per line"):
        ask(spec="open_clip:fake")
    case = Case(photo_file((str(photo_path("cat")), "")), "open_clip:fake")
    assert look(Question(case, ()), cache, policy, ticket()).classes == ()


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"texts": ["catt"]}, TargetError, "no class called 'catt'. Nearest: 'cat'"),
        ({"texts": ["999"]}, TargetError, "62 classes, 0 to 61; there is no class 999"),
        ({"spec": "timm:nonsense_vit"}, ModelError, "timm has no model called 'nonsense_vit'"),
        ({"spec": "nonsense"}, ModelError, "doesn't say where the model is from"),
        ({"methods": ["agcan"]}, MethodError, "Did you mean 'agcam'"),
        ({"methods": ["attention(layer=77)"]}, MethodError, "layer"),
        ({"methods": []}, MethodError, "No method is chosen"),
        (
            {"texts": [str(i) for i in range(MAX_CLASSES + 1)]},
            TargetError,
            "At most 8 classes .* 9 are chosen",
        ),
    ],
)
def test_what_is_wrong_is_said(ask, asked, error, text):
    with pytest.raises(error, match=text):
        ask(**asked)


def broken(path, kind):
    data = photo_path("cat").read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"hello"}[kind])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("truncated", "truncated"),
        ("empty", r"empty \(0 bytes\)"),
        ("text", "is not an image"),
    ],
)
def test_a_broken_photograph_is_named_without_its_place(tmp_path, kind, text):
    path = tmp_path / "holiday.jpg"
    broken(path, kind)
    with pytest.raises(ImageError, match=text) as caught:
        photo_file((str(path), "")).opened(50)
    assert "holiday.jpg" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("IMG (1) & <b>.jpg", "IMG (1) & <b>.jpg"),
        ("../../etc/a.jpg", "a.jpg"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("x" * 200 + ".jpg", "x" * 116 + ".jpg"),
        ("", "b.jpg"),
    ],
)
def test_a_photograph_is_called_as_on_the_visitors_machine(tmp_path, given, name):
    shutil.copy(photo_path("cat"), tmp_path / "b.jpg")
    assert photo_file((str(tmp_path / "b.jpg"), given)).name == name


def test_formats(tmp_path):
    red = Image.new("RGB", (40, 30), "red")
    for suffix in ("jpg", "png", "webp", "gif", "bmp", "tiff", "ppm"):
        red.save(tmp_path / f"red.{suffix}")
        assert photo_file((str(tmp_path / f"red.{suffix}"), "")).opened(1).size == (40, 30)
    red.save(tmp_path / "red.eps")
    shutil.move(tmp_path / "red.eps", tmp_path / "looks-like.png")
    with pytest.raises(
        ImageError, match=r"looks-like.png is not an image that the app reads. Expected one of JPEG"
    ):
        photo_file((str(tmp_path / "looks-like.png"), "")).opened(1)


def test_a_huge_photograph(tmp_path):
    Image.new("L", (2000, 1001)).save(tmp_path / "huge.png")
    with pytest.raises(ImageError, match=r"huge.png is 2000×1001: .* a larger --max-megapixels"):
        photo_file((str(tmp_path / "huge.png"), "")).opened(2)
    assert photo_file((str(tmp_path / "huge.png"), "")).opened(2.01).size == (2000, 1001)


def test_no_photograph(tmp_path):
    with pytest.raises(ImageError, match=r"no photograph yet"):
        photo_file(None)
    with pytest.raises(ImageError, match=r"gone.jpg isn't kept any more. Drop it again"):
        photo_file((str(tmp_path / "gone.jpg"), ""))
    with pytest.raises(ImageError, match=r"isn't kept any more"):
        PhotoFile(tmp_path / "gone.jpg").opened(50)


def test_a_model_that_gives_nan(policy):

    ill = replace(EMBEDDED, module=deepcopy(EMBEDDED.module))
    ill.module.head.weight.data[0] = float("nan")
    case = Case(photo_file((str(photo_path("cat")), "")), "embedded:photo")
    with pytest.raises(ModelError, match=r"aren't finite"):
        look(Question(case, ()), ModelCache(lambda _: ill, 1), policy, ticket())


def test_not_a_transformer(policy):

    cache = ModelCache(lambda _: load_model("timm:resnet10t", pretrained=False, num_classes=5), 1)
    case = Case(photo_file((str(photo_path("cat")), "")), "timm:resnet10t")
    with pytest.raises(ModelError, match=r"no attention was seen"):
        whole(answer(Question(case, ("agcam",)), cache, policy, ticket()))


def test_strangers_cannot_name_models(cache):
    case = Case(photo_file((str(photo_path("cat")), "")), "timm:vit_tiny_patch16_224@/etc/passwd")
    with pytest.raises(VitcamError, match=r"offers only embedded:photo"):
        look(Question(case, ()), cache, policy_for("0.0.0.0", []), ticket())
    assert cache.specs == []


@pytest.mark.parametrize(
    ("spec", "texts"), [("embedded:photo", ["cat", "cup"]), ("open_clip:fake", ["a", "b"])]
)
def test_parts_add_up_to_the_map(ask, cache, policy, spec, texts):
    given = ask(spec=spec, texts=texts, methods=["agcam"])
    parts = take_apart(given, cache, policy, ticket())
    torch.testing.assert_close(parts.total(), given.first.heatmaps, rtol=1e-4, atol=1e-6)
    assert np.isclose(float(parts.shares[0, 1].sum()), 1)
