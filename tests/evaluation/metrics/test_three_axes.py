"""Measures of clips and volumes, as their models take them, against naive versions, voxel by voxel."""

from itertools import product

import naive_metrics as naive
import pytest
import torch
from torch import nn

from vitcam.errors import MetricError
from vitcam.evaluation.cases import PerturbationCase
from vitcam.evaluation.metrics.arranged import by_space
from vitcam.evaluation.metrics.completeness import measured as completeness
from vitcam.evaluation.metrics.gains import gained
from vitcam.evaluation.metrics.insertion_deletion import blur_fill, insertion_deletion, mean_fill
from vitcam.evaluation.metrics.irof import irof_curves
from vitcam.evaluation.metrics.saco import group_removal
from vitcam.evaluation.metrics.subset_removal import subset_removal

SIZE = (4, 6, 8)
GRID = (2, 3, 4)
PLACES = list(product(*map(range, SIZE)))
COUNT = len(PLACES)


class Model(nn.Module):
    """One convolution and a head, of clips with their frames in front of the channels, or of volumes."""

    def __init__(self, channels, frames_first):
        super().__init__()
        torch.manual_seed(0)
        self.frames_first = frames_first
        self.patches = nn.Conv3d(channels, 4, 2, stride=2)
        self.head = nn.Linear(4 * COUNT // 8, 3)

    def forward(self, given):
        given = given.transpose(1, 2) if self.frames_first else given
        return self.head(self.patches(given).tanh().flatten(1))


class Case:
    def __init__(self, kind):
        self.kind = kind
        self.model = Model(3, True) if kind == "clip" else Model(1, False)
        shape = (2, 4, 3, 6, 8) if kind == "clip" else (2, 1, *SIZE)
        self.given = torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 0.5
        self.targets = torch.tensor([0, 2])
        maps = [naive.distinct_heatmap(COUNT, 1, seed).view(SIZE) for seed in range(2)]
        self.maps = torch.stack(maps)

    def at(self, values, place):
        """A view of the channels of one voxel, in the layout that the model takes."""
        t, y, x = place
        return values[t, :, y, x] if self.kind == "clip" else values[:, t, y, x]

    def probability(self, n, places=(), inserted=False):
        """Of the target, with the mean colour at some places, or everywhere but there."""
        image = self.given[n].clone()
        mean = torch.stack([self.at(self.given[n], place) for place in PLACES]).mean(0)
        for place in PLACES:
            if (place in places) != inserted:
                self.at(image, place).copy_(mean)
        with torch.no_grad():
            return float(self.model(image[None]).softmax(-1)[0, self.targets[n]])

    def order(self, n):
        return [PLACES[i] for i in naive.order(self.maps[n].flatten().tolist())]

    def by_space(self):
        return by_space(self.model, self.given)


def voxels(cells):
    """Of cells of two voxels along each axis."""
    return {(2 * t + a, 2 * y + b, 2 * x + c) for t, y, x in cells for a, b, c in product(range(2), repeat=3)}


@pytest.fixture(params=["clip", "volume"])
def case(request):
    return Case(request.param)


def test_insertion_and_deletion(case):
    model, images = case.by_space()
    curves = insertion_deletion(model, images, case.maps, case.targets, mean_fill(images), steps=3)
    for n in range(2):
        order = case.order(n)
        for point, size in enumerate((0, COUNT // 3, 2 * COUNT // 3, COUNT)):
            first = set(order[:size])
            assert float(curves.deletion[n, point]) == pytest.approx(case.probability(n, first), abs=1e-5)
            assert float(curves.insertion[n, point]) == pytest.approx(
                case.probability(n, first, inserted=True), abs=1e-5
            )


def test_groups_of_equally_hot_voxels(case):
    found = group_removal(case.model, case.given, case.maps, case.targets, groups=4)
    for n in range(2):
        order, size = case.order(n), COUNT // 4
        for group in range(4):
            members = set(order[group * size : (group + 1) * size])
            fall = case.probability(n) - case.probability(n, members)
            assert float(found.falls[n, group]) == pytest.approx(fall, abs=1e-5)
            heat = sum(float(case.maps[n][place]) for place in members) / size / (COUNT - 1)
            assert float(found.heat[n, group]) == pytest.approx(heat, abs=1e-5)


def test_patches_are_removed_where_they_are(case):
    maps = torch.stack([naive.distinct_heatmap(24, 1, seed).view(GRID) for seed in range(2)])
    curves = irof_curves(case.model, case.given, maps, case.targets, steps=4)
    cells = list(product(*map(range, GRID)))
    for n in range(2):
        order = [cells[i] for i in naive.order(maps[n].flatten().tolist())]
        for point in range(5):
            gone = voxels(order[: 6 * point])
            assert float(curves.probabilities[n, point]) == pytest.approx(case.probability(n, gone), abs=1e-5)


def test_random_sets_of_patches(case):
    """Which is in a set follows from the seed alone; of a map in voxels, the heat of a patch is its mean."""
    found = subset_removal(case.model, case.given, case.maps, case.targets, (0.25,), 3, grid=GRID, seed=5)
    generator, cells = torch.Generator().manual_seed(5), list(product(*map(range, GRID)))
    for draw in range(3):
        members = [cells[i] for i in torch.randperm(24, generator=generator)[:6].tolist()]
        for n in range(2):
            gone = voxels(members)
            fall = case.probability(n) - case.probability(n, gone)
            assert float(found.falls[n, 0, draw]) == pytest.approx(fall, abs=1e-5)
            heat = sum(float(case.maps[n][place]) for place in gone) / 8
            assert float(found.heat[n, 0, draw]) == pytest.approx(heat, rel=1e-6)


def perturbation_case(case, methods=()):
    model, images = case.by_space()
    maps = case.maps[:, ::2, ::2, ::2].contiguous()
    return PerturbationCase(model, images, maps, maps, case.targets, False, "fp32", 2, 0, methods)


def test_a_map_adds_up_over_all_axes(case):
    """Values of means over the eight voxels of a patch."""
    pytest.importorskip("captum")
    given = perturbation_case(case, ("captum:IntegratedGradients",))
    with torch.no_grad():
        logits = case.model(torch.cat([case.given, torch.zeros_like(case.given[:1])]))
    errors = completeness(given)["completeness_error"]
    for n in range(2):
        rise = float(logits[n, case.targets[n]] - logits[2, case.targets[n]])
        expected = abs(8 * sum(given.on_grid[n].flatten().tolist()) - rise)
        assert errors[n] == pytest.approx(expected, rel=1e-4)


def test_what_is_not_defined_of_three_axes_is_left_out_or_refused(case):
    assert sorted(gained(perturbation_case(case))) == ["srg_grey", "srg_mean"]
    _model, images = case.by_space()
    with pytest.raises(
        MetricError, match=r"a blur is defined of pictures and .* take mean_fill\(images\), or zeros"
    ):
        blur_fill(images)
    if case.kind == "clip":
        of = case.model, case.given, case.maps, case.targets, torch.zeros_like(case.given)
        with pytest.raises(
            MetricError, match=r"got \(2, 4, 3, 6, 8\), which the model takes in another order"
        ):
            insertion_deletion(*of)
