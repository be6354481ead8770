"""The segmentation test, against its authors' arithmetic written down anew, image by image."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import miniature
import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vitcam import Preprocessing
from vitcam.errors import RunError
from vitcam.evaluation import Dataset, Sample, evaluate
from vitcam.evaluation.datasets import DatasetClass
from vitcam.evaluation.ground_truth import find_truth
from vitcam.evaluation.metrics.segmentation import average_precision, segmentation_scores
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.together import SEGMENTATION_ACCURACY, SEGMENTATION_MIOU

SIZE = 32


def authors(heatmaps, masks):
    """mIoU, pixel accuracy, mAP and mF1 of a dataset, one image at a time, as in ``imagenet_seg_eval.py``."""
    inter, union, right, labelled, aps, f1s = np.zeros(2), np.zeros(2), 0, 0, [], []
    for heatmap, mask in zip(heatmaps, masks.numpy(), strict=True):
        heat = F.interpolate(heatmap[None, None], size=(SIZE, SIZE), mode="bilinear")[0, 0]
        heat = (heat - heat.min()) / (heat.max() - heat.min())  # NaN where the map is constant
        hot = torch.nan_to_num(heat.gt(heat.mean()).float()).numpy()
        for c in (0, 1):
            predicted, true = hot == c, mask == c
            inter[c] += (predicted & true).sum()
            union[c] += predicted.sum() + true.sum() - (predicted & true).sum()
        right += (hot == mask).sum()
        labelled += mask.size
        scores = torch.nan_to_num(torch.stack([1 - heat, heat])).numpy().ravel()
        aps.append(naive_ap(scores, np.stack([mask == 0, mask == 1]).ravel()))
        for row, true in zip(hot, mask, strict=True):
            tp, wrong = (row * true).sum(), (row != true).sum()
            f1s.append(2 * tp / (2 * tp + wrong) if tp + wrong else 0.0)
    return (inter / union).mean(), right / labelled, np.mean(aps), np.mean(f1s)


def naive_ap(scores, positive):
    """Σ (R_n − R_{n−1}) P_n, threshold by threshold."""
    area, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        above = scores >= threshold
        recall = (above & positive).sum() / positive.sum()
        area += (recall - before) * (above & positive).sum() / above.sum()
        before = recall
    return area


def cases(images=6):
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.randn(images, 4, 4, generator=generator)
    heatmaps[1] = 2.0  # constant
    heatmaps[2] = (heatmaps[2] > 0).float()  # ties
    masks = torch.zeros(images, SIZE, SIZE, dtype=torch.bool)
    for i in range(images):
        masks[i, 3 + i : 20, 2 : 9 + 3 * i] = True
    return heatmaps, masks


def test_it_is_the_authors_arithmetic():
    heatmaps, masks = cases()
    scores = segmentation_scores(heatmaps, masks)
    miou, accuracy, mean_ap, f1 = authors(heatmaps, masks.int())
    counts = scores["counts"].numpy()
    assert SEGMENTATION_MIOU.of(counts) == pytest.approx(miou, abs=1e-9)
    assert SEGMENTATION_ACCURACY.of(counts) == pytest.approx(accuracy, abs=1e-9)
    assert scores["ap"].mean().item() == pytest.approx(mean_ap, abs=1e-6)
    assert scores["f1"].mean().item() == pytest.approx(f1, abs=1e-9)
    # a mean over images of their own ratios would be another number
    assert abs(np.mean(counts[:, :2] / counts[:, 2:4]) - miou) > 1e-3


def test_a_batch_is_its_images_one_by_one():
    heatmaps, masks = cases()
    together = segmentation_scores(heatmaps, masks)
    for i in range(len(heatmaps)):
        alone = segmentation_scores(heatmaps[i : i + 1], masks[i : i + 1])
        for name, values in alone.items():
            assert torch.equal(values[0], together[name][i]), name


def test_average_precision_is_over_distinct_scores():
    generator = torch.Generator().manual_seed(3)
    scores = torch.randint(0, 30, (400,), generator=generator) / 30
    positive = torch.rand(400, generator=generator) < scores
    expected = naive_ap(scores.numpy(), positive.numpy())
    assert average_precision(scores, positive).item() == pytest.approx(expected, abs=1e-12)
    assert average_precision(scores, torch.zeros(400, dtype=torch.bool)).item() == 0


def test_undecided_pixels_count_nowhere():
    heatmaps, masks = cases()
    ignore = torch.zeros_like(masks)
    ignore[:, :, 16:] = True
    scores = segmentation_scores(heatmaps, masks, ignore)
    assert (scores["counts"][:, 4] == SIZE * 16).all()
    changed = segmentation_scores(heatmaps, masks ^ ignore, ignore)
    for name, values in scores.items():
        assert torch.equal(values, changed[name])


def test_intervals_are_of_ratios_of_sums():
    """The expansion's mean is the ratio, and its spread that of the ratio under resampling."""
    heatmaps, masks = cases(images=200)
    shares = torch.linspace(0.1, 0.9, 200).view(-1, 1, 1)
    masks = torch.rand(masks.shape, generator=torch.Generator().manual_seed(1)) < shares
    counts = segmentation_scores(heatmaps, masks)["counts"].numpy()
    points = SEGMENTATION_MIOU.points(counts)
    values = points @ SEGMENTATION_MIOU.weights(points.mean(axis=0))
    assert values.mean() == pytest.approx(SEGMENTATION_MIOU.of(counts))
    random = np.random.default_rng(0)
    drawn = [SEGMENTATION_MIOU.of(counts[random.integers(0, 200, 200)]) for _ in range(500)]
    assert values.std() / np.sqrt(200) == pytest.approx(np.std(drawn), rel=0.1)


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (224, 224), (97, 401)])
def test_masks_are_resized_as_the_authors_do(size):
    random = np.random.default_rng(0)
    mask = random.random((size[1], size[0])) < 0.5
    sample = Sample("a", None, (0,), segmentation=Masked(mask))
    expected = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((224, 224), Image.Resampling.NEAREST))
    assert (find_truth(sample, [0], Preprocessing.paper(), size).region == expected).all()


class Masked:
    def __init__(self, inside):
        self.inside = inside

    def mask(self, labels):
        return self.inside

    def void(self, labels):
        return np.zeros_like(self.inside)


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def same(sample):
    return sample


def masked(explained):
    """Photographs of which some are predicted wrong, and the last is of a class that the model doesn't know."""
    left = np.arange(40)[None].repeat(40, axis=0) < 20
    samples = tuple(
        Sample(f"{i}", None, (i % 4,), segmentation=Masked(left), pixels=partial(noise, i)) for i in range(8)
    )
    classes = tuple(map(DatasetClass, (*miniature.CLASSES, "emu")))
    return Dataset("made", Path(), classes, samples, read=same, explained=explained)


@pytest.fixture
def run(tmp_path):
    def run(explained, **changed):
        model = miniature.make_model()
        settings = {"protocol": "paper", "tests": ["segmentation"], "workers": 0, "batch_size": 3, **changed}
        summary = evaluate(
            "localization", masked(explained), model, ["agcam"], tmp_path / explained, **settings
        )
        return summary["localization"]["agcam"], RunFolder(tmp_path / explained).read()

    return run


def test_the_predicted_class_of_all_photographs_is_explained_if_asked(run):
    every, rows = run("any")
    right, _ = run("predicted")
    assert (every["images"], every["skipped_wrong"], every["unmatched"]) == (8, 0, 0)
    assert 0 < right["images"] < 6
    assert (right["images"] + right["skipped_wrong"], right["unmatched"]) == (6, 2)
    agcam = rows.filter(pl.col("method") == "agcam")
    assert (agcam["target"] == agcam["predicted"]).all()
    assert agcam.filter(pl.col("label") == 3).height == 2
    assert 0 < every["segmentation_miou"] < 1
    assert list(every) == [
        *("images", "skipped_wrong", "unreadable", "unmatched", "segmentation_ap", "segmentation_f1"),
        *("segmentation_counts", "segmentation_miou", "segmentation_accuracy", "intervals"),
    ]


def test_the_true_class_is_explained_if_asked(run):
    numbers, rows = run("labelled")
    assert (numbers["images"], numbers["unmatched"]) == (6, 2)
    assert (rows["target"] == rows["label"]).all()
    assert (rows["predicted"] != rows["target"]).any()


def test_it_can_be_asked_for_in_any_protocol_and_others_cannot(run):
    with pytest.raises(RunError, match="the paper protocol has no test 'mask'; --protocol vitcam has it"):
        run("any", tests=["mask"])
