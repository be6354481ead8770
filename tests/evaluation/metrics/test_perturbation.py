from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import naive_metrics as naive
import pytest
import torch
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitcam.errors import ImageError, ModelError, TargetError
from vitcam.evaluation.metrics.perturbation import _Extremes, perturbation_curves

GOLDEN = Path(__file__).parents[2] / "golden" / "abpc.safetensors"


@pytest.fixture(scope="module")
def golden():
    with safe_open(GOLDEN, "pt") as file:
        meta, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    sizes = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes")
    model = VisionTransformer(**{name: int(meta[name]) for name in sizes}, mlp_ratio=4.0)
    weights = {name.removeprefix("weights/"): value for name, value in tensors.items() if "weights/" in name}
    model.load_state_dict(weights)
    images = (tensors["images"] - float(meta["mean"])) / float(meta["std"])
    return SimpleNamespace(model=model.eval(), normalised=images, **{k: tensors[k] for k in _KEPT})


_KEPT = ("heatmaps", "targets", "morf", "lerf")


@pytest.mark.parametrize("batch_size", [7, 64])
def test_equals_the_authors(golden, batch_size):
    curves = perturbation_curves(
        golden.model, golden.normalised, golden.heatmaps, golden.targets, batch_size=batch_size
    )
    # Far closer than the 1e-3 that is asked for: even the choice among equal pixels is theirs.
    torch.testing.assert_close(curves.morf, golden.morf, atol=1e-6, rtol=0)
    torch.testing.assert_close(curves.lerf, golden.lerf, atol=1e-6, rtol=0)
    expected = golden.lerf.double().mean(1) - golden.morf.double().mean(1)
    torch.testing.assert_close(curves.abpc, expected, atol=1e-6, rtol=0)
    assert curves.fractions.tolist() == pytest.approx([step / 10 for step in range(11)])


def test_low_precision_stays_near_and_gives_fp32(golden):
    curves = perturbation_curves(
        golden.model, golden.normalised[:1], golden.heatmaps[:1], golden.targets[:1], precision="bf16"
    )
    assert curves.morf.dtype == torch.float32
    torch.testing.assert_close(curves.morf, golden.morf[:1], atol=2e-2, rtol=0)
    assert not torch.equal(curves.morf, golden.morf[:1])


def test_equals_a_naive_version_on_an_image_that_isnt_square(case):
    steps = 4
    # As fine as the image, so that no two pixels are equal.
    heatmaps = torch.stack([naive.distinct_heatmap(32, 24, seed) for seed in range(3)])
    curves = perturbation_curves(case.model, case.images, heatmaps, case.targets, steps)
    for i in range(3):
        order = naive.order(naive.flat(heatmaps[i], 32, 24))
        for step in range(steps + 1):
            k = 32 * 24 * step // steps
            for curve, removed in ((curves.morf, order[:k]), (curves.lerf, order[len(order) - k :])):
                image = naive.replaced(case.images[i], torch.zeros(1, 1, 1), removed)
                expected = case.probability(image, case.targets[i])
                assert curve[i, step].item() == pytest.approx(expected, abs=1e-5)
    assert curves.auc_morf.tolist() == pytest.approx(curves.morf.mean(1).tolist())
    assert curves.abpc.tolist() == pytest.approx((curves.lerf - curves.morf).mean(1).tolist(), abs=1e-6)


def test_computes_the_common_ends_once(case, passes):
    perturbation_curves(case.model, case.images, case.heatmaps, case.targets, batch_size=16)
    assert sum(passes) == 3 * (2 * 9 + 1) + 1
    assert max(passes) == 16


def test_the_rest_of_the_batch_makes_no_difference(case):
    whole = perturbation_curves(case.model, case.images, case.heatmaps, case.targets)
    alone = perturbation_curves(case.model, case.images[1:2], case.heatmaps[1:2], case.targets[1:2])
    torch.testing.assert_close(whole.morf[1:2], alone.morf, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole.lerf[1:2], alone.lerf, atol=1e-6, rtol=0)


def test_two_steps_are_enough_and_so_is_one(case):
    one = perturbation_curves(case.model, case.images, case.heatmaps, case.targets, steps=1)
    assert one.morf.shape == (3, 2)
    assert torch.equal(one.morf, one.lerf)


def test_constant_heatmaps_are_perturbed_the_same_way_every_time(case):
    flat = torch.ones_like(case.heatmaps)
    first = perturbation_curves(case.model, case.images, flat, case.targets)
    second = perturbation_curves(case.model, case.images, flat, case.targets)
    assert torch.equal(first.morf, second.morf)


@pytest.mark.parametrize("wrap", [lambda y: SimpleNamespace(logits=y), lambda y: (y, None)])
def test_finds_the_logits(case, wrap):
    class Wrapped(nn.Module):
        def forward(self, images):
            return wrap(case.model(images))

    expected = perturbation_curves(case.model, case.images, case.heatmaps, case.targets, steps=2)
    got = perturbation_curves(Wrapped(), case.images, case.heatmaps, case.targets, steps=2)
    assert torch.equal(got.morf, expected.morf)


@pytest.mark.parametrize("fail", [False, True])
def test_leaves_the_model_as_it_was(case, fail):
    case.model.train()
    case.model.blocks[0].eval()
    case.model.head.weight.requires_grad_(False)
    modes = [module.training for module in case.model.modules()]
    grads = [parameter.requires_grad for parameter in case.model.parameters()]
    hook = case.model.head.register_forward_hook(lambda *_: 1 / 0 if fail else None)
    if fail:
        with pytest.raises(ZeroDivisionError):
            perturbation_curves(case.model, case.images, case.heatmaps, case.targets)
    else:
        perturbation_curves(case.model, case.images, case.heatmaps, case.targets)
    assert [module.training for module in case.model.modules()] == modes
    assert [parameter.requires_grad for parameter in case.model.parameters()] == grads
    assert list(case.model.head._forward_hooks) == [hook.id]


def test_results_are_ordinary_tensors(case):
    curves = perturbation_curves(case.model, case.images, case.heatmaps, case.targets, steps=2)
    assert not curves.morf.is_inference()
    assert not curves.morf.requires_grad


def test_says_what_is_wrong(case):
    with pytest.raises(TargetError, match=r"targets in 0..4, the model's 5 classes, got 5"):
        perturbation_curves(case.model, case.images, case.heatmaps, torch.tensor([0, 5, 1]))
    with pytest.raises(ImageError, match="finite"):
        perturbation_curves(case.model, case.images, case.heatmaps / 0 * 0, case.targets)
    with pytest.raises(ModelError, match="no logits"):
        perturbation_curves(nn.Identity(), case.images, case.heatmaps, case.targets)


def test_masks_are_those_of_topk_on_the_cpu():
    """Whether by a comparison or, among equal pixels, by its choice: maps without ties, with many, of one value."""
    torch.manual_seed(0)
    maps = torch.stack(
        [torch.rand(300), torch.rand(300).relu() - 0.5, torch.randint(3, (300,)) / 2, torch.ones(300)]
    )
    sizes = [0, 1, 99, 100, 150, 299]
    extremes = _Extremes(maps, sizes)
    for i, pixels in enumerate(maps):
        for step, size in enumerate(sizes):
            for largest in (True, False):
                expected = torch.zeros(300, dtype=torch.bool)
                expected[pixels.topk(size, largest=largest, sorted=False).indices] = True
                assert torch.equal(extremes.of(i, largest, step), expected)
    decided = extremes._alike[True]
    assert not any(decided[0])
    assert all(decided[3][1:])
