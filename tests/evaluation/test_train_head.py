"""A linear head on a frozen model."""

from __future__ import annotations

from dataclasses import replace

import miniature
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import vitcam
from vitcam import LoadedModel, Preprocessing, load_model
from vitcam.errors import ModelError
from vitcam.evaluation import Dataset, RunError, Sample, evaluate, open_dataset
from vitcam.evaluation.datasets import DatasetClass
from vitcam.evaluation.train_head import mean_average_precision, train_head
from vitcam.models.head import find_classifier, read_head, with_head
from vitcam.models.spec import split_head

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def coloured(tmp_path):
    """Class folders that any features can tell apart: red and blue noise."""
    random = np.random.default_rng(1)
    for name, channel in (("blue", 2), ("red", 0)):
        for i in range(15):
            pixels = random.integers(0, 100, (20, 20, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            path = tmp_path / "data" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return f"folder:{tmp_path / 'data'}"


def test_trains_and_measures(coloured, tmp_path):
    model = miniature.make_model()
    trained = train_head(model, coloured, tmp_path / "head.safetensors")
    assert (trained.trained, trained.held_out, trained.classes) == (24, 6, 2)
    assert trained.accuracy == 1.0
    assert (trained.multi_label, trained.mean_average_precision) == (False, None)
    head = read_head(trained.path)
    assert head.class_names == ("blue", "red")
    assert head.layer == "head"

    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    own = with_head(model, head, "own")
    photographs = [tmp_path / "data/red/3.png", tmp_path / "data/blue/4.png"]
    explanation = vitcam.explain(own, photographs)
    assert [explanation.label(i) for i in (0, 1)] == ["red", "blue"]
    after = own.module.state_dict()
    assert all(after[name].equal(tensor) for name, tensor in before.items() if not name.startswith("head."))


def test_the_minimum_is_found(coloured, tmp_path):
    """The gradient of the documented objective is zero at what was found."""
    model = miniature.make_model()
    trained = train_head(model, coloured, tmp_path / "head.safetensors", weight_decay=0.1)
    with safe_open(trained.path.with_suffix(".features.safetensors"), framework="pt") as file:
        features, truth = file.get_tensor("features").double(), file.get_tensor("truth").double()
    test = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:6]
    kept = torch.tensor([i for i in range(30) if i not in test.tolist()])
    features, truth = features[kept], truth[kept]
    mean, std = features.mean(0), features.std(0, correction=0)
    head = read_head(trained.path)
    weight, bias = head.weight.double(), head.bias.double()
    weight, bias = (weight * std).requires_grad_(), (bias + weight @ mean).requires_grad_()
    logits = (features - mean) / std @ weight.T + bias
    loss = -(truth * logits.log_softmax(1)).sum(1).mean() + 0.05 * weight.square().sum()
    loss.backward()
    assert weight.grad.abs().max() < 1e-3
    assert bias.grad.abs().max() < 1e-3


def test_a_photograph_that_has_been_mended_is_learnt_from(tmp_path):
    data, model, passes = miniature.make_dataset(tmp_path / "data"), miniature.make_model(), []
    model.module.register_forward_hook(lambda *_: passes.append(1))
    given = (model, f"folder:{data}", tmp_path / "head.safetensors")
    assert train_head(*given).unreadable == 1
    count = len(passes)
    assert train_head(*given).unreadable == 1
    assert len(passes) == count + 1
    (data / miniature.BROKEN).write_bytes((data / "dog" / "01.png").read_bytes())
    trained = train_head(*given)
    assert (trained.unreadable, trained.trained + trained.held_out) == (0, 24)


def test_classes_that_nothing_shows_are_named(coloured, tmp_path):
    dataset = open_dataset(coloured)
    more = replace(dataset, classes=(*dataset.classes, DatasetClass("white")))
    assert train_head(miniature.make_model(), more, tmp_path / "head.safetensors").untaught == ("white",)
    assert train_head(miniature.make_model(), dataset, tmp_path / "head.safetensors").untaught == ()


def test_is_seeded_and_its_features_are_kept(coloured, tmp_path):
    model, passes = miniature.make_model(), []
    hook = model.module.register_forward_hook(lambda *_: passes.append(1))
    path = tmp_path / "head.safetensors"
    train_head(model, coloured, path)
    first, count = path.read_bytes(), len(passes)
    train_head(model, coloured, path)
    hook.remove()
    assert path.read_bytes() == first
    assert len(passes) == count + 1  # only the search for the classifier
    train_head(model, coloured, path, seed=1)
    assert path.read_bytes() != first


class _Pixels:
    def __init__(self, labels):
        self.labels = labels

    def __call__(self):
        pixels = np.random.default_rng(len(self.labels)).integers(0, 60, (16, 16, 3), dtype=np.uint8)
        for label in self.labels:
            pixels[..., label] += 150
        return Image.fromarray(pixels)


def test_several_labels_get_sigmoids(tmp_path):
    combinations = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)] * 6
    samples = tuple(
        Sample(f"{i:02d}", None, labels, pixels=_Pixels(labels)) for i, labels in enumerate(combinations)
    )
    classes = tuple(map(DatasetClass, ("red", "green", "blue")))
    dataset = Dataset("made", tmp_path, classes, samples, read=lambda sample: sample)
    trained = train_head(miniature.make_model(), dataset, tmp_path / "head.safetensors")
    assert trained.multi_label
    assert trained.mean_average_precision > 0.95
    own = with_head(miniature.make_model(), read_head(trained.path), "own")
    assert own.multi_label
    logits = own.module(own.preprocess([_Pixels((0, 1))(), _Pixels((2,))()]))
    assert (logits > 0).tolist() == [[True, True, False], [False, False, True]]


def test_mean_average_precision():
    """Per class: the precision at the place of every positive, one by one."""
    scores = torch.randn(40, 5)
    truth = torch.rand(40, 5) > 0.7
    per_class = []
    for column in range(5):
        right, precisions = 0, []
        for place, image in enumerate(sorted(range(40), key=lambda i, c=column: -scores[i, c]), start=1):
            if truth[image, column]:
                right += 1
                precisions.append(right / place)
        per_class.append(sum(precisions) / len(precisions))
    assert mean_average_precision(scores, truth) == pytest.approx(sum(per_class) / 5, abs=1e-9)


def test_spec_with_a_head_is_loaded_everywhere(coloured, tmp_path):
    path = tmp_path / "colours+v1.safetensors"
    trained = train_head("embedded:photo", coloured, path)
    assert trained.accuracy == 1.0
    spec = f"embedded:photo+{path}"
    model = load_model(spec)
    assert (model.class_names, model.spec) == (("blue", "red"), spec)
    summary = evaluate(
        "perturbation", coloured, spec, ["agcam"], tmp_path / "run", limit=2, steps=2, batch_size=2
    )
    assert summary["perturbation"]["agcam"]["unmatched"] == 0


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("timm:vit+a.safetensors", ("timm:vit", "a.safetensors")),
        ("timm:vit@b.pth+a.safetensors", ("timm:vit@b.pth", "a.safetensors")),
        ("timm:vit@x+y.pth", ("timm:vit@x+y.pth", None)),
        ("open_clip:ViT-B-16-plus-240/t", ("open_clip:ViT-B-16-plus-240/t", None)),
    ],
)
def test_specs_are_split(spec, parts):
    model, head = split_head(spec)
    assert (model, head and str(head)) == parts


def test_a_checkpoint_with_a_plus_in_its_path_is_no_head(tmp_path):
    file = tmp_path / "a+b.safetensors"
    file.touch()
    assert split_head(f"timm:vit@{file}") == (f"timm:vit@{file}", None)


def test_a_model_without_a_classifier_gets_one_on_top(coloured, tmp_path):
    torch.manual_seed(0)
    module = VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0)
    model = LoadedModel(module.eval(), Preprocessing(size=(32, 32), mean=HALF, std=HALF))
    assert find_classifier(model) == ""
    trained = train_head(model, coloured, tmp_path / "head.safetensors")
    own = with_head(model, read_head(trained.path), "own")
    explanation = vitcam.explain(own, tmp_path / "data/red/0.png", "rollout")
    assert explanation.logits.shape == (1, 2)
    assert explanation.heatmaps.shape == (1, 1, 4, 4)


def test_heads_that_dont_fit_are_refused(coloured, tmp_path):
    trained = train_head(miniature.make_model(), coloured, tmp_path / "head.safetensors")
    with pytest.raises(ModelError, match="the head was trained on custom, on 16 features"):
        load_model(f"embedded:photo+{trained.path}")
    with pytest.raises(ModelError, match=r"there is no head .*none.safetensors: train one"):
        load_model("embedded:photo+none.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2, 3)}, other)
    with pytest.raises(ModelError, match="isn't a head that `vitcam train-head` wrote"):
        read_head(other)
    other.write_bytes(trained.path.read_bytes()[:-20])
    with pytest.raises(ModelError, match="is damaged"):
        read_head(other)


def test_settings_are_checked(coloured, tmp_path):
    model = miniature.make_model()
    with pytest.raises(RunError, match=r"a head is written as NAME\.safetensors"):
        train_head(model, coloured, tmp_path / "head.pt")
    with pytest.raises(RunError, match="there is no folder"):
        train_head(model, coloured, tmp_path / "no" / "head.safetensors")
    with pytest.raises(RunError, match="held_out must be a share between 0 and 1"):
        train_head(model, coloured, tmp_path / "head.safetensors", held_out=1.0)


def test_a_linear_layer_that_isnt_the_last_is_no_classifier():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(12, 3)

        def forward(self, images):
            return 2 * self.inner(images.mean(1).flatten(1)[:, :12])

    model = LoadedModel(Scaled(), Preprocessing(size=(8, 8), mean=HALF, std=HALF))
    assert find_classifier(model) == ""
