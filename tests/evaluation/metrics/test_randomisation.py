"""Maps of a model whose weights are drawn anew."""

from __future__ import annotations

import threading

import naive_metrics
import naive_sanity as naive
import pytest
import torch
from sanity_cases import make_case, tiny_model

import vitcam
from families import FAMILIES
from small_models import HomemadeViT
from vitcam.errors import MetricError, ModelError
from vitcam.evaluation.metrics import (
    efficient_randomisation,
    random_logit,
    randomisation,
    smooth_randomisation,
)
from vitcam.evaluation.metrics.noise import normal_neighbours
from vitcam.evaluation.metrics.random_logit import other_classes
from vitcam.evaluation.randomising import STAGES, Twin, drawn_anew, stages_of

METHODS = ("agcam", "rollout", "center")  # of which the last knows no weights
MEASURES = (randomisation, efficient_randomisation, smooth_randomisation, random_logit)


@pytest.fixture(scope="module")
def sane():
    return make_case(tiny_model(), torch.rand(3, 3, 32, 24) * 2 - 1, METHODS)


@pytest.fixture(scope="module")
def fully_random(sane):
    return naive.randomised(sane.model, [name for name, _ in sane.model.named_parameters()], sane.seed)


@pytest.fixture(scope="module")
def curves(sane):
    return randomisation.measured(sane)


def places(sane):
    """Each heatmap with its method, image and target."""
    return [
        (k, method, sane.images[i], int(sane.targets[i]))
        for k, (method, i) in enumerate((m, i) for m in METHODS for i in range(len(sane.images)))
    ]


def pixels(heatmap):
    if heatmap.amax() == heatmap.amin():
        return torch.zeros(32, 24)
    return torch.tensor(naive_metrics.pixel_map(heatmap, 32, 24))


def test_curves_equal_a_naive_version(sane, curves):
    found = curves
    stages = stages_of(sane.model, sane.images)
    shown = [0, 2, STAGES - 1]  # and not all images, since this takes its time
    names = {"cascade": [sum(stages[: k + 1], ()) for k in shown], "layerwise": [stages[k] for k in shown]}
    for kind, by_depth in names.items():
        models = [naive.randomised(sane.model, of_depth, sane.seed) for of_depth in by_depth]
        for k, method, image, target in places(sane)[1::3]:
            before = sane.on_grid[k]
            after = [naive.explained(model, image, method, target) for model in models]
            ssims = [naive.ssim(pixels(before), pixels(each)) for each in after]
            assert found[f"{kind}_ssim_curve"][k, shown].tolist() == pytest.approx(ssims, abs=2e-3)
            if method != "center":  # whose equal values differ by roundings
                ranks = [naive.spearman(before, each) for each in after]
                assert found[f"{kind}_rank_curve"][k, shown].tolist() == pytest.approx(ranks, abs=1e-6)
        for name in ("ssim", "rank"):
            assert found[f"{kind}_{name}"].equal(found[f"{kind}_{name}_curve"].mean(1))


def test_what_depends_on_no_weight_stays_the_same(sane, curves):
    found = {**curves, **efficient_randomisation.measured(sane), **smooth_randomisation.measured(sane)}
    centre = sane.of_method("center")
    for key, values in found.items():
        of_centre = torch.as_tensor(values[centre])
        expected = 0.0 if key == "entropy_rise" else 1.0
        torch.testing.assert_close(of_centre, torch.full_like(of_centre, expected), atol=1e-5, rtol=0)
    for key in ("cascade_ssim", "cascade_rank", "smooth_ssim", "smooth_rank"):
        assert found[key][sane.of_method("agcam")].max() < 0.9
    # attention up to the last layer sees nothing of what comes after it
    rollout = found["layerwise_rank_curve"][sane.of_method("rollout")]
    assert rollout[:, 0].tolist() == pytest.approx([1, 1, 1])
    assert rollout[:, -1].max() < 0.99


def test_entropy_and_its_rise_equal_naive_versions(sane, fully_random):
    found = efficient_randomisation.measured(sane)["entropy_rise"]
    for k, method, image, target in places(sane)[:6:2]:
        maps = (sane.on_grid[k], naive.explained(fully_random, image, method, target))
        before, after = (naive.histogram_entropy(pixels(each).flatten().tolist()) for each in maps)
        assert found[k] == pytest.approx(
            (after - before) / before, abs=5e-3
        )  # a value may fall into the next bin
    functions = pytest.importorskip("quantus.functions.complexity_func", reason="Quantus isn't installed")
    for heatmap, ours in zip(
        sane.pixels, efficient_randomisation.histogram_entropy(sane.pixels), strict=True
    ):
        theirs = functions.discrete_entropy(heatmap.double().numpy(), heatmap.numpy(), n_bins=100)
        assert ours.item() == pytest.approx(theirs, abs=5e-3)
    flat = torch.ones(1, 8, 8)
    assert efficient_randomisation.entropy_rise(flat, torch.rand(1, 8, 8)) == [None]


def test_smoothed_maps_equal_a_naive_version(sane, fully_random):
    found = smooth_randomisation.measured(sane)
    noisy = normal_neighbours(sane.images, 4, 0.1, sane.seed)
    for k, method, image, target in places(sane)[2:5:2]:
        means = []
        for model in (sane.model, fully_random):
            versions = [*noisy[:, k % len(sane.images)], image]
            maps = [naive.largest_one(naive.explained(model, each, method, target)) for each in versions]
            means.append(torch.tensor(maps).mean(0).view_as(sane.on_grid[k]))
        assert found["smooth_rank"][k].item() == pytest.approx(naive.spearman(*means), abs=1e-6)
        assert found["smooth_ssim"][k].item() == pytest.approx(naive.ssim(*map(pixels, means)), abs=2e-3)


def test_random_logit_compares_with_another_class(sane):
    targets = sane.targets[:3]
    others = other_classes(sane.images, targets, 5, sane.seed)
    assert not (others == targets).any()
    found = random_logit.measured(sane)
    for k, method, image, _ in places(sane)[:6]:
        other = naive.explained(sane.model, image, method, int(others[k % 3]))
        assert found["other_class_rank"][k].item() == pytest.approx(naive.spearman(sane.on_grid[k], other))
        ssim = naive.ssim(pixels(sane.on_grid[k]), pixels(other))
        assert found["other_class_ssim"][k].item() == pytest.approx(ssim, abs=2e-3)
    assert found["other_class_rank"][sane.of_method("rollout")].tolist() == pytest.approx([1, 1, 1])
    assert found["other_class_rank"][sane.of_method("agcam")].max() < 0.999


def test_every_other_class_is_drawn():
    images, targets = torch.rand(200, 3, 2, 2), torch.arange(200) % 4
    drawn = other_classes(images, targets, 4, seed=0)
    steps = ((drawn - targets) % 4).bincount(minlength=4).tolist()
    assert steps[0] == 0
    assert min(steps[1:]) > 40
    with pytest.raises(
        MetricError, match="expected a model of 2 classes or more, to draw another one from, got 1"
    ):
        other_classes(images, targets * 0, 1, seed=0)


def test_one_class_has_no_other():
    model = HomemadeViT(head=torch.nn.Linear(24, 1)).eval()
    assert random_logit.measured(make_case(model, torch.rand(2, 3, 32, 32), ["agcam"])) == {}


def test_a_batch_gives_what_its_images_give(sane):
    together = {key: value for each in MEASURES for key, value in each.measured(sane).items()}
    only = make_case(
        sane.model, sane.images[1:2], METHODS, twin=sane.twin
    )  # one twin of all cases, as in a run
    alone = {key: value for each in MEASURES for key, value in each.measured(only).items()}
    for key, values in together.items():
        part, whole = (torch.as_tensor(each).double() for each in (alone[key], values))
        torch.testing.assert_close(part, whole[1::3], atol=5e-3, rtol=0)


def test_another_seed_draws_other_weights(sane):
    found = [make_case(sane.model, sane.images, ["agcam"], seed).randomly.on_grid for seed in (0, 1)]
    assert found[0].equal(sane.randomly.on_grid[sane.of_method("agcam")])
    assert not torch.allclose(found[0], found[1], rtol=0.1)


def test_the_model_is_never_written_to(sane, monkeypatch):
    before = [(parameter.clone(), parameter._version) for parameter in sane.model.parameters()]
    maps = vitcam.explain(sane.model, sane.images).heatmaps
    found = []

    def meanwhile():
        found.extend(vitcam.explain(sane.model, sane.images).heatmaps.equal(maps) for _ in range(3))

    calls = []

    def failing(*args, **options):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return vitcam.compare(*args, **options)

    monkeypatch.setattr("vitcam.evaluation.job.compare", failing)
    other = threading.Thread(target=meanwhile)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        randomisation.measured(sane)
    other.join()
    assert found == [True] * 3
    for (values, version), parameter in zip(before, sane.model.parameters(), strict=True):
        assert parameter.equal(values)
        assert parameter._version == version
    assert vitcam.explain(sane.model, sane.images).heatmaps.equal(maps)
    monkeypatch.undo()  # what was interrupted in between gives the same when it is done again
    again, anew = (
        randomisation.measured(sane),
        randomisation.measured(make_case(sane.model, sane.images, METHODS)),
    )
    assert again["cascade_ssim_curve"].equal(anew["cascade_ssim_curve"])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_has_its_turn(name):
    family = FAMILIES[name]
    model = family.build().eval()
    stages = stages_of(model, torch.rand(1, 3, family.size, family.size))
    names = [each for stage in stages for each in stage]
    assert len(stages) == STAGES
    assert sorted(names) == sorted(each for each, _ in model.named_parameters())
    patches = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    (weight,) = (each for each, parameter in model.named_parameters() if parameter is patches.weight)
    assert weight in stages[-1]


def test_drawn_weights_keep_their_strength():
    weights = 3 + 0.5 * torch.randn(400, 300)
    drawn = drawn_anew(weights, "layer.weight", seed=0)
    assert drawn.mean().item() == pytest.approx(3, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.01)
    assert torch.corrcoef(torch.stack([weights.flatten(), drawn.flatten()]))[0, 1].abs() < 0.02
    assert not drawn.equal(drawn_anew(weights, "other.weight", seed=0))
    assert drawn_anew(torch.tensor(2.5), "scale", seed=0).item() == 2.5
    assert drawn_anew(weights.half(), "layer.weight", seed=0).dtype == torch.half


class Uncopied(HomemadeViT):
    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


class Changing(HomemadeViT):
    def __deepcopy__(self, memo):
        other = HomemadeViT()
        torch.nn.init.normal_(other.head.weight)
        return other


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (Uncopied, r"Uncopied can't be copied, so that no weights can be drawn anew beside it \(no copies\)"),
        (Changing, "a copy of Changing answers otherwise than the model itself"),
    ],
)
def test_a_model_that_has_no_faithful_copy_is_refused(kind, problem):
    sane = make_case(kind().eval(), torch.rand(2, 3, 32, 32), ["agcam"])
    with pytest.raises(ModelError, match=problem) as caught:
        randomisation.measured(sane)
    assert "--test" in str(caught.value)


def test_a_twin_goes_from_any_weights_to_any(sane):
    twin = Twin(sane.model, 0)
    names = twin.stages(sane.images)
    for wanted in ([0, 1], range(STAGES), [2], []):
        found = dict(twin.randomised(sane.images, wanted).named_parameters())
        expected = naive.randomised(sane.model, [name for i in wanted for name in names[i]], 0)
        for name, values in expected.named_parameters():
            torch.testing.assert_close(found[name], values)
