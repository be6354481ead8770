"""Heatmaps of several methods at once: the numbers of each alone, and what they share is computed once."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vitcam.errors import MetricError
from vitcam.evaluation.metrics.chefer import chefer_perturbation
from vitcam.evaluation.metrics.insertion_deletion import blur_fill, insertion_deletion
from vitcam.evaluation.metrics.irof import irof_curves
from vitcam.evaluation.metrics.maps import images_of
from vitcam.evaluation.metrics.perturbation import perturbation_curves
from vitcam.evaluation.metrics.road import road_curves
from vitcam.evaluation.metrics.saco import saco
from vitcam.evaluation.metrics.subset_removal import subset_removal
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.types import PatchGrid

METHODS = 3


def _tests(case):
    """By name: the test, its curves, its forward passes per heatmap, and those per image that all share."""
    grid = PatchGrid(height=4, width=3, prefix=1)
    dropping = partial(token_dropping_curves, case.model, case.model.blocks[0], grid, case.images)
    fills = blur_fill(case.images, kernel=5)
    inserting = partial(insertion_deletion, case.model, case.images, fills=fills, steps=4)
    return {
        "perturbation": (
            partial(perturbation_curves, case.model, case.images),
            ("morf", "lerf"),
            18,
            1 + 1 / 3,
        ),
        "insertion": (inserting, ("insertion", "deletion"), 6, 2),
        "road": (partial(road_curves, case.model, case.images, percentiles=(20, 70)), ("morf", "lerf"), 4, 0),
        "dropping": (partial(dropping, steps=3), ("morf", "lerf"), 4, 2),
        "saco": (partial(saco, case.model, case.images, groups=4), (), 4, 1),
        "subsets": (
            partial(subset_removal, case.model, case.images, fractions=(0.2, 0.5), draws=3),
            ("heat", "falls"),
            0,
            7,
        ),
        "irof": (partial(irof_curves, case.model, case.images, steps=4), ("probabilities",), 3, 2),
        "chefer": (
            lambda heatmaps, targets, **more: chefer_perturbation(
                case.model, case.images, heatmaps, targets, BLACK, (0.2, 0.6), **more
            ),
            ("positive", "negative"),
            4,
            0,
        ),
    }


BLACK = torch.full((3, 1, 1), -1.0)
NAMES = ("perturbation", "insertion", "road", "dropping", "saco", "subsets", "irof", "chefer")


@pytest.mark.parametrize("name", NAMES)
def test_equals_one_method_after_the_other(case, passes, name):
    torch.manual_seed(1)
    heatmaps = torch.rand(METHODS, 3, 4, 3)
    function, curves, each, shared = _tests(case)[name]
    together = function(heatmaps=heatmaps.flatten(0, 1), targets=case.targets.repeat(METHODS))
    assert sum(passes) == round(3 * (METHODS * each + shared))
    alone = [function(heatmaps=maps, targets=case.targets) for maps in heatmaps]
    parts = [(together, alone)] if name == "saco" else []
    parts += [(getattr(together, curve), [getattr(one, curve) for one in alone]) for curve in curves]
    for stacked, separate in parts:
        torch.testing.assert_close(stacked, torch.cat(separate), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES[5:])
def test_a_batch_equals_its_images_one_by_one(case, name):
    function, curves, *_ = _tests(case)[name]
    together = function(heatmaps=case.heatmaps, targets=case.targets)
    images, alone = case.images, []
    for i in range(3):
        case.images = images[i : i + 1]
        one, *_ = _tests(case)[name]
        alone.append(one(heatmaps=case.heatmaps[i : i + 1], targets=case.targets[i : i + 1]))
    for curve in curves:
        separate = torch.cat([getattr(each, curve) for each in alone])
        torch.testing.assert_close(getattr(together, curve), separate, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES[:7])
def test_several_labels_have_sigmoids(case, name):
    """Any other class's logit leaves the numbers as they are, which with a softmax it wouldn't."""
    function, curves, *_ = _tests(case)[name]

    def numbers(multi_label):
        found = function(heatmaps=case.heatmaps, targets=torch.tensor([0, 3, 3]), multi_label=multi_label)
        return torch.stack([getattr(found, curve) for curve in curves]) if curves else found

    before = {multi_label: numbers(multi_label) for multi_label in (False, True)}
    if name in ("perturbation", "insertion", "dropping"):
        with torch.no_grad():
            logits = case.model(case.images)[range(3), [0, 3, 3]]
        untouched = before[True][1, :, 0]  # LeRF and deletion begin with it
        torch.testing.assert_close(untouched, logits.sigmoid(), atol=1e-5, rtol=0)
    torch.nn.init.constant_(case.model.head.weight[1], 3.0)
    torch.testing.assert_close(numbers(True), before[True], atol=1e-5, rtol=0)
    assert not torch.allclose(numbers(False), before[False], atol=1e-3)


def test_what_does_not_belong_together_is_refused(case):
    with pytest.raises(MetricError, match="got 3 images, 4 heatmaps and 4 targets"):
        saco(case.model, case.images, torch.rand(4, 4, 3), torch.zeros(4, dtype=torch.long))
    with pytest.raises(MetricError, match="got 3 images, 6 heatmaps and 3 targets"):
        images_of(case.images, torch.rand(6, 4, 3), case.targets)
    assert images_of(case.images, torch.rand(6, 4, 3), torch.zeros(6).long()) == [0, 1, 2, 0, 1, 2]
