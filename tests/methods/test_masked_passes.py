"""Occlusion and RISE, and the passes that they are made of, against whole forward passes one by one."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F

import vitcam
from families import images_of, model_of
from naive_passes import NAME, REMOVED, TARGETS, logits, painted
from small_models import HomemadeViT, timm_vit
from vitcam.errors import MethodError, TargetError
from vitcam.methods import rise
from vitcam.methods.passes import generator_of, many_passes
from vitcam.recording import Need, Score, record

pytestmark = pytest.mark.filterwarnings("ignore:.*needs more samples")


@pytest.fixture(scope="module")
def model():
    return model_of(NAME).eval()


@pytest.fixture(scope="module")
def images():
    return images_of(NAME, 2)


@pytest.mark.parametrize("by", REMOVED)
@pytest.mark.parametrize(("size", "stride", "windows"), [(1, 1, 16), (3, 2, 4), (2, 2, 4)])
def test_occlusion_is_the_mean_fall_over_windows(model, images, by, size, stride, windows):
    ours = vitcam.explain(model, images, "occlusion", TARGETS, size=size, stride=stride, by=by).heatmaps
    starts = sorted({min(start, 4 - size) for start in range(0, 4, stride)})
    assert len(starts) ** 2 == windows
    for i, image in enumerate(images):
        falls = [[] for _ in range(16)]
        for top in starts:
            for left in starts:
                inside = [4 * (top + r) + left + c for r in range(size) for c in range(size)]
                scores = REMOVED[by](model, image, [patch for patch in range(16) if patch not in inside])
                for patch in inside:
                    falls[patch].append(logits(model, image) - scores)
        expected = torch.stack([torch.stack(each).mean(0)[TARGETS[i]] for each in falls], dim=1)
        torch.testing.assert_close(ours[i].flatten(1), expected, atol=1e-5, rtol=1e-4)


def test_occlusion_of_single_patches_is_captums_feature_ablation(model, images):
    pytest.importorskip("captum", reason="captum is an optional extra")
    ours = vitcam.explain(model, images, "occlusion", TARGETS, size=1)
    theirs = vitcam.explain(model, images, "captum:FeatureAblation", TARGETS)
    torch.testing.assert_close(ours.heatmaps, theirs.heatmaps, atol=1e-5, rtol=1e-4)


def test_occlusion_paints_with_the_images_mean(model, images):
    ours = vitcam.explain(model, images[:1], "occlusion(size=1, fill='mean')", [[3]]).heatmaps
    colour = images[0].mean(dim=(1, 2), keepdim=True)
    expected = logits(model, images[0]) - painted(model, images[0], [p for p in range(16) if p != 6], colour)
    assert ours[0, 0].flatten()[6].item() == pytest.approx(expected[3].item(), abs=1e-5)


def test_rise_is_the_weighed_mean_of_masked_scores(model, images):
    """Masks one by one: cells enlarged and cut out by loops, whole passes, and the two formulas."""
    budget, cells, keep = 6, 3, 0.4
    ours = vitcam.explain(model, images, "rise", TARGETS, budget=budget, cells=cells, keep=keep, seed=5)
    for i, image in enumerate(images):
        draw = generator_of(image, 5)
        grids = torch.rand(budget, 1, cells, cells, generator=draw) < keep
        tops, lefts = (torch.randint(22, (budget,), generator=draw) for _ in range(2))  # ⌈64 / 3⌉
        weighed = []
        for grid, top, left in zip(grids, tops.tolist(), lefts.tolist(), strict=True):
            large = torch.nn.Upsample((88, 88), mode="bilinear")(grid[None].float())[0, 0]
            mask = large[top : top + 64, left : left + 64]
            score = logits(model, image * mask).softmax(0)[TARGETS[i]]
            weighed.append(score[:, None] * F.avg_pool2d(mask[None], 16).flatten() / keep)
        weighed = torch.stack(weighed)
        torch.testing.assert_close(ours.heatmaps[i].flatten(1), weighed.mean(0), atol=1e-6, rtol=1e-4)
        error = (weighed.var(0) / budget).sqrt()
        torch.testing.assert_close(ours.errors[i].flatten(1), error, atol=1e-6, rtol=1e-4)


def test_rises_masks_show_their_share():
    masks = rise.smooth_masks((48, 80), 400, 4, 0.3, torch.Generator().manual_seed(0))(slice(0, 400))
    assert masks.shape == (400, 48, 80)
    assert masks.min() == 0
    assert masks.max() == 1
    assert (masks.mean(dim=0) - 0.3).abs().max() < 0.12


@pytest.mark.parametrize("by", ["tokens", "attention"])
def test_rise_on_tokens(model, images, by):
    budget = 8
    ours = vitcam.explain(model, images[:1], "rise", [[2]], budget=budget, cells=2, by=by, output="logit")
    draw = generator_of(images[0], 0)
    some = torch.rand(budget, 4, generator=draw) < 0.5
    while not some.any(1).all():
        empty = ~some.any(1)
        some[empty] = torch.rand(int(empty.sum()), 4, generator=draw) < 0.5
    weighed = []
    for cells in some.tolist():
        kept = [patch for patch in range(16) if cells[patch // 8 * 2 + patch % 4 // 2]]
        shown = torch.tensor([float(patch in kept) for patch in range(16)])
        weighed.append(REMOVED[by](model, images[0], kept)[2] * shown / (0.5 / (1 - 0.5**4)))
    weighed = torch.stack(weighed)
    torch.testing.assert_close(ours.heatmaps[0, 0].flatten(), weighed.mean(0), atol=1e-5, rtol=1e-4)
    error = weighed.std(0) / budget**0.5
    torch.testing.assert_close(ours.errors[0, 0].flatten(), error, atol=1e-5, rtol=1e-4)


def test_errors_are_those_of_repetitions(model, images):
    """The spread of the map over seeds is what the standard error says."""
    several = [
        vitcam.explain(model, images[:1], "rise", [[2]], budget=12, cells=3, seed=s) for s in range(12)
    ]
    spread = torch.stack([e.heatmaps for e in several]).std(0)
    said = torch.stack([e.errors for e in several]).square().mean(0).sqrt()
    assert 0.7 < float((said / spread).mean()) < 1.4
    assert float(several[0].errors.mean()) > 0


def test_seeds_and_places_in_a_batch(model, images):
    once = vitcam.explain(model, images, "rise", TARGETS, budget=4)
    assert torch.equal(vitcam.explain(model, images, "rise", TARGETS, budget=4).heatmaps, once.heatmaps)
    other = vitcam.explain(model, images, "rise", TARGETS, budget=4, seed=1)
    assert not torch.allclose(other.heatmaps, once.heatmaps, rtol=1e-3)
    swapped = vitcam.explain(model, images.flip(0), "rise", TARGETS[::-1], budget=4)
    torch.testing.assert_close(swapped.heatmaps.flip(0), once.heatmaps, atol=1e-6, rtol=1e-5)


def test_tokens_left_out_cost_nothing(model, images):
    lengths = []
    handle = model.encoder.layers[1].register_forward_hook(
        lambda m, args, output: lengths.append(output.shape[:2])
    )
    try:
        vitcam.explain(model, images[:1], "occlusion", 1, size=3, stride=3, by="tokens")
    finally:
        handle.remove()
    assert (4, 8) in [tuple(each) for each in lengths]  # four windows of nine patches, in one pass


@pytest.mark.parametrize("by", ["pixels", "tokens", "attention"])
def test_many_sets_of_many_sizes(model, images, by):
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(40, 16, generator=generator) < torch.rand(40, 1, generator=generator)
    score = Score(choose=lambda logits: torch.tensor(TARGETS))
    recording = record(model, images, score, Need.NOTHING)
    with many_passes(recording) as passes:
        ours = passes.without(1, kept, by)
    for row, some in zip(ours, kept, strict=True):
        expected = REMOVED[by](model, images[1], some.nonzero().flatten().tolist())[TARGETS[1]]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["timm eva02", "timm dinov3"])
def test_rotary_embeddings_stay_with_their_tokens(family):
    """A model of rotary embeddings without some tokens, by hand: the table of those that stay."""
    model, image = model_of(family).eval(), images_of(family, 1)
    ours = vitcam.explain(model, image, "occlusion", 2, size=4, stride=4, by="tokens").heatmaps[0, 0]
    with torch.no_grad():
        x, rope = model._pos_embed(model.patch_embed(image))
        kept = [patch for patch in range(64) if not (patch // 8 < 4 and patch % 8 < 4)]
        prefix = x.shape[1] - 64
        x = x[:, [*range(prefix), *[prefix + patch for patch in kept]]]
        x = x if getattr(model, "norm_pre", None) is None else model.norm_pre(x)
        for block in model.blocks:
            x = block(x, rope=rope[kept])
        expected = model(image) - model.forward_head(model.norm(x))
    assert ours[0, 0].item() == pytest.approx(expected[0, 2].item(), abs=1e-5)


class Placed(HomemadeViT):
    """Adds a table to the tokens by their places in the sequence, in front of the last block."""

    def forward(self, images):
        places = torch.randn(100, 24, generator=torch.Generator().manual_seed(0))
        handle = self.blocks[2].register_forward_pre_hook(
            lambda m, args: (args[0] + places[: args[0].shape[1]],)
        )
        try:
            return super().forward(images)
        finally:
            handle.remove()


def test_tokens_that_would_take_the_places_of_others_are_no_longer_what_they_were():
    model, image = Placed(), torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(MethodError, match="it computes something else of the others"):
        vitcam.explain(model, image, "occlusion(by='tokens')", 1)
    assert vitcam.explain(model, image, "occlusion(by='attention')", 1).heatmaps.std() > 0


class Mixed(HomemadeViT):
    """Tokens mix in a convolution between blocks."""

    def forward(self, images):
        def mix(module, args):
            return (args[0] + args[0].roll(1, dims=1),)

        handle = self.blocks[1].register_forward_pre_hook(mix)
        try:
            return super().forward(images)
        finally:
            handle.remove()


def test_tokens_that_mix_out_of_sight_are_not_removed():
    model, image = Mixed(), torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(MethodError, match="mixed or put in another order in between"):
        vitcam.explain(model, image, "occlusion(by='attention')", 1)


def test_nothing_left_is_said():
    model = timm_vit(class_token=False, global_pool="avg")
    with pytest.raises(MethodError, match="no token besides its patches, so that nothing is left"):
        vitcam.explain(model, images_of(NAME, 1), "shapley(cells=2, by='tokens')", 1)
    assert (
        vitcam.explain(model, images_of(NAME, 1), "rise(budget=3, by='tokens')", 1).heatmaps.isfinite().all()
    )


def test_windowed_models():
    swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=5).eval()
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert vitcam.explain(swin, image, "occlusion(size=4, stride=4)", 2).heatmaps.shape == (1, 1, 7, 7)
    with pytest.raises(MethodError, match="patches can't be removed by tokens from SwinTransformer"):
        vitcam.explain(swin, image, "occlusion(by='tokens')", 2)


def test_a_function_as_score(model, images):
    by_function = vitcam.explain(
        model, images, "occlusion", lambda logits: logits[:, [3, 5]], size=2, stride=2
    )
    by_class = vitcam.explain(model, images, "occlusion", [[3, 5]] * 2, size=2, stride=2)
    torch.testing.assert_close(by_function.heatmaps, by_class.heatmaps, atol=1e-5, rtol=1e-4)
    weights = torch.rand(2, 9)
    with pytest.raises(TargetError, match="score them one by one"):
        vitcam.explain(model, images, "occlusion", lambda logits: (logits * weights).sum(1))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("occlusion(size=0)", "occlusion takes a whole number of at least 1 as size, not 0"),
        (
            "occlusion(size=4)",
            "covers all 4×4 patches at once, so that none can be told from another: use a smaller",
        ),
        ("occlusion(size=2, stride=3)", "leaves patches out: a stride is at most the size"),
        ("occlusion(by='patches')", "no by='patches'; choose one of 'pixels', 'tokens', 'attention'"),
        ("occlusion(fill='red')", "no fill='red'; choose one of 'zero', 'mean'"),
        ("occlusion(output='softmax')", "no output='softmax'; choose one of 'logit', 'probability'"),
        ("rise(budget=1)", "at least 2 as budget, which an error can be estimated from, not 1"),
        ("rise(keep=1.0)", "a probability between 0 and 1 as keep, such as 0.5; not 1.0"),
        ("rise(seed=-1)", "rise takes a whole number of at least 0 as seed, not -1"),
    ],
)
def test_wrong_options(model, images, method, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model, images, method)


def test_too_few_samples_are_said(model, images):
    with pytest.warns(
        UserWarning, match=r"rise\(budget=3\) needs more samples: .* Give (about|many times) budget="
    ):
        vitcam.explain(model, images, "rise", TARGETS, budget=3)
