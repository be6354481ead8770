"""An exported file is refused where it differs from PyTorch."""

from __future__ import annotations

import exported_models as models
import pytest
import torch

import vitcam
from vitcam.export import ExportError
from vitcam.export.verification import compare_answers

IMAGES = torch.randn(3, 3, *models.SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def model():
    return models.far_from_zero(models.timm_vit())


def answers(model, targets, change):
    """As an exported file would run, with what it answers changed."""

    def run(images):
        explained = vitcam.explain(model, images, targets=targets(images))
        found = [explained.logits.clone(), explained.targets.clone(), explained.heatmaps.clone()]
        change(*found)
        return tuple(found)

    return run


def top1(images):
    return None


def top5(images):
    return "top5"


def every(images):
    return [list(range(7))] * len(images)


def nothing(logits, targets, heatmaps):
    pass


@pytest.mark.parametrize("targets", [top1, top5, every])
def test_the_same_answers_agree(model, targets):
    agreement = compare_answers(answers(model, targets, nothing), model, IMAGES, "agcam")
    assert (agreement.heatmaps, agreement.logits) == (0, 0)


def one_place(logits, targets, heatmaps):
    heatmaps[-1, -1, 1, 1] += 2e-3 * heatmaps[-1, -1].max()


def not_a_number(logits, targets, heatmaps):
    heatmaps[0, 0, 0, 0] = torch.nan


def one_logit(logits, targets, heatmaps):
    logits[0, 3] += 2e-3 * (logits[0].max() - logits[0].min())


def only_in_a_batch(logits, targets, heatmaps):
    if len(logits) > 1:
        heatmaps[2] = heatmaps[1]


@pytest.mark.parametrize("change", [one_place, not_a_number, one_logit, only_in_a_batch])
def test_other_answers_are_refused(model, change):
    with pytest.raises(ExportError, match=r"doesn't answer as PyTorch does: .* 0.001 is allowed"):
        compare_answers(answers(model, top5, change), model, IMAGES, "agcam")


@pytest.mark.parametrize("targets", [top1, top5, every])
def test_other_classes_are_refused(model, targets):
    def others(images):
        right = vitcam.explain(model, images, targets=targets(images)).targets
        return right.roll(1, dims=1) if right.shape[1] > 1 else (right + 1) % 7

    with pytest.raises(ExportError, match="explains other classes than PyTorch"):
        compare_answers(answers(model, others, nothing), model, IMAGES, "agcam")
