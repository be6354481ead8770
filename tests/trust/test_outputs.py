"""What a model returns, and what it is asked for, is never guessed."""

from __future__ import annotations

import collections
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import vitcam
from small_models import HomemadeViT
from vitcam.errors import ModelError, TargetError
from vitcam.evaluation import perturbation_curves
from vitcam.recording import find_logits

IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))


class Returns(nn.Module):
    """A ViT with a head whose output is made of features and logits."""

    def __init__(self, make):
        super().__init__()
        self.backbone, self.head, self.auxiliary = HomemadeViT(head=nn.Identity()), *heads(2)
        self.make = make

    def forward(self, images):
        features = self.backbone(images)
        return self.make(features, self.head(features), self.auxiliary(features))


def heads(count):
    torch.manual_seed(5)
    return [nn.Linear(24, 5) for _ in range(count)]


Named = collections.namedtuple("Named", ["features", "logits"])


@pytest.mark.parametrize(
    "make",
    [
        lambda features, logits, other: (logits, other),
        lambda features, logits, other: [logits, features[:, :, None]],
        lambda features, logits, other: (logits, None, {"features": features}),
        lambda features, logits, other: (logits, features.argmax(1)),
        lambda features, logits, other: (logits,),
        lambda features, logits, other: Named(features, logits),
        lambda features, logits, other: {"features": features, "logits": logits},
        lambda features, logits, other: SimpleNamespace(features=features, logits=logits),
        lambda features, logits, other: SimpleNamespace(logits=(logits, other)),
    ],
)
def test_logits_that_can_be_told(make):
    expected = vitcam.explain(Returns(lambda features, logits, other: logits), IMAGES)
    found = vitcam.explain(Returns(make), IMAGES)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)


def first_table(output):
    return output["logits"][0] if isinstance(output, dict) else output[0]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda features, logits, other: (features, logits), r"a tuple of \(1, 24\) and \(1, 5\)"),
        (lambda features, logits, other: [logits, features], r"a list of \(1, 5\) and \(1, 24\)"),
        (lambda features, logits, other: (logits, None, features), "NoneType"),
        (lambda features, logits, other: {"logits": (features, logits)}, r"a tuple of \(1, 24\)"),
    ],
)
def test_features_and_logits_that_look_alike(make, what):
    images = IMAGES[:1]
    with pytest.raises(ModelError, match=rf"returned .*{what}.*: which of them are the logits.*targets="):
        vitcam.explain(Returns(make), images)
    e = vitcam.explain(Returns(make), images, targets=lambda output: first_table(output)[:, :1])
    assert e.logits is None
    assert e.heatmaps.shape == (1, 1, 4, 5)


@pytest.mark.parametrize(
    "output", [(), [], (None, torch.zeros(2, 3)), (torch.zeros(2, 3, 4), torch.zeros(2, 3))]
)
def test_an_output_whose_first_is_no_table_has_no_logits(output):
    assert find_logits(output) is None


class Marked(torch.Tensor):
    """A tensor with something of a library's own, as MONAI's MetaTensor and torchvision's Image are."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs)
        if isinstance(result, cls):
            result.note = "from the scanner"
        return result


METHODS = ["agcam", "attention", "gae", "lrp", "attnlrp", "gradcam", "captum:Saliency", "legrad"]


def test_tensor_subclasses_are_explained_as_tensors():
    expected = vitcam.compare(HomemadeViT(), IMAGES, METHODS, targets=torch.tensor([1, 2]))
    marked = IMAGES.clone().as_subclass(Marked)
    found = vitcam.compare(HomemadeViT(), marked, METHODS, torch.tensor([1, 2]).as_subclass(Marked))
    for method, e in expected.items():
        assert torch.equal(found[method].heatmaps, e.heatmaps), method
        assert type(found[method].heatmaps) is type(found[method].targets) is torch.Tensor
    assert isinstance(marked, Marked)
    assert vitcam.explain(HomemadeViT(), nn.Parameter(IMAGES)).heatmaps.shape == (2, 1, 4, 5)


def test_what_monais_and_torchvisions_loaders_give():
    monai = pytest.importorskip("monai.data", reason="MONAI isn't installed")
    from torchvision import tv_tensors

    expected = vitcam.explain(HomemadeViT(), IMAGES, "lrp").heatmaps
    for images in (monai.MetaTensor(IMAGES), tv_tensors.Image(IMAGES)):
        assert torch.equal(vitcam.explain(HomemadeViT(), images, "lrp").heatmaps, expected)


def one_logit():
    return HomemadeViT(head=nn.Linear(24, 1))


def test_one_logit_has_a_probability_of_its_own():
    e = vitcam.explain(one_logit(), IMAGES)
    torch.testing.assert_close(e.probabilities, e.logits.sigmoid())
    assert 0 < float(e.probabilities.min()) <= float(e.probabilities.max()) < 1
    two = vitcam.explain(HomemadeViT(head=nn.Linear(24, 2)), IMAGES)
    torch.testing.assert_close(two.probabilities, two.logits.softmax(dim=1))


def test_one_logit_is_measured_by_its_own_probability():
    model = one_logit()
    e = vitcam.explain(model, IMAGES)
    curves = perturbation_curves(model, IMAGES, e.heatmaps[:, 0], e.targets[:, 0], steps=2)
    torch.testing.assert_close(curves.morf[:, 0].float(), e.probabilities[:, 0], atol=1e-5, rtol=0)
    assert curves.morf.unique().numel() > 2


def test_one_logit_is_ranked_by_its_own_probability():
    pytest.importorskip("gradio", reason="the app isn't installed")
    from PIL import Image

    from vitcam.app.photo_files import PhotoFile
    from vitcam.app.prepared import prepared
    from vitcam.app.ranking import Case, rank

    loaded = vitcam.LoadedModel(
        one_logit(), vitcam.Preprocessing((32, 40), (0.5,) * 3, (0.5,) * 3), ("tumour",)
    )
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    ranking = rank(loaded, Case(PhotoFile.__new__(PhotoFile), "own"), prepared(loaded, picture))
    logits = loaded.module(loaded.preprocess(picture))
    assert ranking.probabilities == pytest.approx(logits.sigmoid()[0].tolist())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.eye(5, dtype=torch.long)[[1, 3]], r"\(2, 5\) hold only 0 and 1.*one-hot.*argmax\(dim=1\)"),
        (np.eye(5, dtype=np.int64)[[1, 3]], "one-hot"),
        ([[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]], "one-hot"),
        ([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]], r"several classes per image \(multi-hot\).*nonzero"),
    ],
)
def test_labels_of_a_column_per_class_are_no_indices(targets, message):
    with pytest.raises(TargetError, match=message):
        vitcam.explain(HomemadeViT(), IMAGES, targets=targets)


def test_flat_one_hot_label_of_a_single_image():
    with pytest.raises(TargetError, match="one-hot"):
        vitcam.explain(HomemadeViT(), IMAGES[:1], targets=[0, 0, 0, 1, 0])


@pytest.mark.parametrize(
    ("head", "targets"),
    [
        (5, [[0, 1], [1, 0]]),
        (5, [[0, 1, 2, 3, 4]] * 2),
        (5, [[0, 1, 0]] * 2),
        (2, [[0, 1], [1, 0]]),
        (5, [[0] * 5] * 2),
    ],
)
def test_indices_that_are_0_and_1_stay_indices(head, targets):
    e = vitcam.explain(HomemadeViT(head=nn.Linear(24, head)), IMAGES, "gae", targets=targets)
    assert e.targets.tolist() == targets


@pytest.mark.parametrize("method", ["agcam", "gae", "gradcam", "legrad", "lrp", "attnlrp"])
def test_targets_that_were_made_in_inference_mode(method):
    model = HomemadeViT().eval()
    with torch.inference_mode():
        targets = model(IMAGES).argmin(dim=1)
    found = vitcam.explain(model, IMAGES, method, targets=targets)
    expected = vitcam.explain(model, IMAGES, method, targets=targets.tolist())
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
