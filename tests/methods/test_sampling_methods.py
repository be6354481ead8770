"""Score-CAM, Shapley values, TIS and ReciproCAM against their formulas, written out and one pass at a time."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

import vitcam
from families import images_of, model_of
from naive_passes import REMOVED, TARGETS, from_tokens, logits
from small_models import HomemadeViT
from vitcam.errors import MethodError
from vitcam.methods import scorecam, shapley, tis
from vitcam.methods.passes import generator_of

pytestmark = pytest.mark.filterwarnings("ignore:.*needs more samples")


@pytest.fixture(scope="module")
def model():
    return model_of("torchvision vit").eval()


@pytest.fixture(scope="module")
def images():
    return images_of("torchvision vit", 2)


def norm_of_last_block(model, image):
    kept = []
    handle = model.encoder.layers[-1].ln_1.register_forward_hook(lambda m, args, output: kept.append(output))
    logits(model, image)
    handle.remove()
    return kept[0][0, 1:].T  # channels, patches


def seen_through(model, image, channel, **enlarged):
    mask = F.interpolate(channel.reshape(1, 1, 4, 4), size=(64, 64), mode="bilinear", **enlarged)
    return logits(model, image * ((mask - mask.min()) / (mask.max() - mask.min()))[0])


def test_scorecam_of_every_channel(model, images):
    ours = vitcam.explain(model, images, "scorecam", TARGETS)
    assert ours.errors is None
    for i, image in enumerate(images):
        channels = norm_of_last_block(model, image)
        scores = torch.stack([seen_through(model, image, channel)[TARGETS[i]] for channel in channels])
        expected = (scores.softmax(0).T @ channels).relu()
        torch.testing.assert_close(ours.heatmaps[i].flatten(1), expected, atol=1e-5, rtol=1e-4)


def test_scorecam_is_that_of_grad_cam(model, images, monkeypatch):
    library = pytest.importorskip("pytorch_grad_cam", reason="grad-cam isn't installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class AlignedCentres(torch.nn.Upsample):
        def __init__(self, size):
            super().__init__(size=size, mode="bilinear")

    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", AlignedCentres)

    def on_grid(tokens):
        return tokens[:, 1:].unflatten(1, (4, 4)).movedim(3, 1)

    with library.ScoreCAM(model, [model.encoder.layers[-1].ln_1], reshape_transform=on_grid) as cam:
        theirs = cam(images[:1].clone(), [ClassifierOutputTarget(4)])
    ours = vitcam.explain(model, images[:1], "scorecam", 4).upsampled((64, 64))[0, 0]
    both = torch.stack([ours.flatten(), torch.from_numpy(theirs[0]).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.999


def test_scorecams_error_is_that_of_draws_without_putting_back():
    generator = torch.Generator().manual_seed(0)
    channels = torch.randn(200, 6, generator=generator)
    scores = channels[:, :2] + torch.randn(200, 2, generator=generator)
    whole, nothing = scorecam.weighed(scores, channels, 200)
    assert torch.equal(nothing, torch.zeros(2, 6))
    away, said = [], []
    for _ in range(400):
        some = torch.randperm(200, generator=generator)[:80]
        mean, error = scorecam.weighed(scores[some], channels[some], 200)
        away.append((mean - whole).square())
        said.append(error.square())
    shares = (torch.stack(said).mean(0) / torch.stack(away).mean(0)).sqrt()
    assert ((shares > 0.8) & (shares < 1.2)).all()


def test_scorecam_of_some_channels(model, images):
    ours = vitcam.explain(model, images[:1], "scorecam", 4, budget=10, seed=2)
    drawn = torch.randperm(48, generator=generator_of(images[0], 2))[:10].sort().values
    channels = norm_of_last_block(model, images[0])[drawn]
    scores = torch.stack([seen_through(model, images[0], channel)[[4]] for channel in channels])
    mean, error = scorecam.weighed(scores, channels, 48)
    torch.testing.assert_close(ours.heatmaps[0].flatten(1), mean.relu(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.errors[0].flatten(1), error, atol=1e-5, rtol=1e-4)


def exact_shapley(model, image, by, target):
    """Of 2×2 cells, over all 24 orders."""
    cells = [[p for p in range(16) if (p // 8, p % 4 // 2) == (row, col)] for row in (0, 1) for col in (0, 1)]
    known = {}

    def worth(joined):
        if joined not in known:
            known[joined] = REMOVED[by](model, image, [p for cell in joined for p in cells[cell]])[target]
        return known[joined]

    values = torch.zeros(4)
    orders = list(permutations(range(4)))
    for order in orders:
        for step, cell in enumerate(order):
            values[cell] += worth(frozenset(order[: step + 1])) - worth(frozenset(order[:step]))
    return values / len(orders), worth(frozenset(range(4))) - worth(frozenset())


@pytest.mark.parametrize("by", REMOVED)
def test_shapley_values_are_near_those_of_all_orders(model, images, by):
    e = vitcam.explain(model, images[:1], "shapley", 4, cells=2, budget=200, by=by)
    values, rise = exact_shapley(model, images[0], by, 4)
    ours = 4 * e.heatmaps[0, 0, ::2, ::2].flatten()  # a cell's value is shared by its four patches
    errors = 4 * e.errors[0, 0, ::2, ::2].flatten()
    assert ((ours - values).abs() <= 4 * errors + 1e-5).all()
    assert (ours - values).abs().max() < 0.3 * values.abs().max()
    assert e.heatmaps.sum().item() == pytest.approx(rise.item(), abs=1e-4)
    assert (e.heatmaps[0, 0, :2, :2] == e.heatmaps[0, 0, 0, 0]).all()


def test_shapley_of_each_order_and_its_reverse(model, images):
    """Marginals one by one, for the orders that the seed gives."""
    e = vitcam.explain(model, images[1:], "shapley", [[3]], cells=9, budget=2 + 30 * 2, seed=7)
    draw = generator_of(images[1], 7)
    pairs = []
    for order in [torch.randperm(16, generator=draw).tolist() for _ in range(2)]:
        both = torch.zeros(2, 16)
        for way, steps in enumerate((order, order[::-1])):
            for step, patch in enumerate(steps):
                with_it, without = (
                    REMOVED["pixels"](model, images[1], steps[:end])[3] for end in (step + 1, step)
                )
                both[way, patch] = with_it - without
        pairs.append(both.mean(0))
    pairs = torch.stack(pairs)
    torch.testing.assert_close(e.heatmaps[0, 0].flatten(), pairs.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(e.errors[0, 0].flatten(), pairs.std(0) / 2**0.5, atol=1e-5, rtol=1e-4)


def test_shapley_of_a_sum_is_exact(images):
    """Where patches don't interact each order says the same, and the error is nothing."""
    model = HomemadeViT()
    e = vitcam.explain(model, images[:1], "shapley", lambda logits: logits[:, :1] * 0 + 5, cells=2, budget=14)
    assert torch.equal(e.heatmaps, torch.zeros_like(e.heatmaps))
    assert torch.equal(e.errors, torch.zeros_like(e.errors))
    assert shapley.before(torch.tensor([[1, 0]])).tolist() == [[[False, False], [False, True]]]


def test_tis_is_the_mean_score_of_the_masks_that_keep_a_patch(model, images):
    budget, keep = 20, 0.5
    ours = vitcam.explain(model, images, "tis", TARGETS, budget=budget, keep=keep, seed=3)
    for i, image in enumerate(images):
        outputs = []
        handles = [
            layer.register_forward_hook(
                lambda m, args, output, outputs=outputs: outputs.append(output[0, 1:].T)
            )
            for layer in model.encoder.layers
        ]
        logits(model, image)
        for handle in handles:
            handle.remove()
        centres = naive_centroids(torch.cat(outputs), budget, generator_of(image, 3))
        kept = [set(centre.argsort(descending=True)[:8].tolist()) for centre in centres]
        scores = torch.stack(
            [from_tokens(model, image, sorted(some)).softmax(0)[TARGETS[i]] for some in kept]
        )
        for patch in range(16):
            of_patch = scores[[patch in some for some in kept]]
            assert len(of_patch) > 1
            row, column = divmod(patch, 4)
            torch.testing.assert_close(
                ours.heatmaps[i, :, row, column], of_patch.mean(0), atol=1e-5, rtol=1e-4
            )
            error = of_patch.std(0) / len(of_patch) ** 0.5
            torch.testing.assert_close(ours.errors[i, :, row, column], error, atol=1e-5, rtol=1e-3)


def naive_centroids(points, count, draw):
    centres = points[torch.randperm(len(points), generator=draw)[:count]].clone()
    for _ in range(100):
        nearest = [int((centres - point).square().sum(1).argmin()) for point in points]
        moved = centres.clone()
        for number in range(count):
            mine = [point for point, its in zip(points, nearest, strict=True) if its == number]
            if mine:
                moved[number] = torch.stack(mine).mean(0)
        if torch.allclose(moved, centres, atol=1e-6):
            break
        centres = moved
    return centres


def test_a_patch_that_no_mask_keeps_has_the_lowest_value():
    scores, kept = torch.tensor([[0.3, 0.6]]), torch.tensor([[True, True, False], [True, False, False]])
    means, errors = tis._means(scores, kept)
    torch.testing.assert_close(means, torch.tensor([[0.45, 0.3, 0.3]]))
    assert errors.isfinite().all()


def by_patch_alone(model, image, weights):
    """The last block by hand: masked tokens, and the masked output of its first norm."""
    layers = model.encoder.layers
    with torch.no_grad():
        x = model.conv_proj(image[None]).flatten(2).transpose(1, 2)
        x = torch.cat([model.class_token, x], dim=1) + model.encoder.pos_embedding
        x = layers[:-1](x)
        mask = torch.cat([torch.ones(1), weights])[None, :, None]
        last, normed = layers[-1], layers[-1].ln_1(x) * mask
        x = x * mask + last.self_attention(normed, normed, normed, need_weights=False)[0]
        x = x + last.mlp(last.ln_2(x))
        return model.heads(model.encoder.ln(x)[:, 0])[0]


@pytest.mark.parametrize("gaussian", [True, False])
def test_reciprocam_is_the_score_of_a_patch_alone(model, images, gaussian):
    ours = vitcam.explain(model, images, "reciprocam", TARGETS, gaussian=gaussian)
    assert ours.errors is None
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    for i, image in enumerate(images):
        for row in range(4):
            for column in range(4):
                padded = torch.zeros(6, 6)
                if gaussian:
                    padded[row : row + 3, column : column + 3] = kernel
                else:
                    padded[row + 1, column + 1] = 1
                expected = by_patch_alone(model, image, padded[1:-1, 1:-1].flatten())[TARGETS[i]]
                torch.testing.assert_close(ours.heatmaps[i, :, row, column], expected, atol=1e-5, rtol=1e-4)


def test_reciprocam_computes_nothing_below_its_block_again(model, images):
    calls = []
    handles = [
        layer.ln_2.register_forward_hook(lambda m, args, output, n=number: calls.append((n, len(output))))
        for number, layer in enumerate(model.encoder.layers)
    ]
    try:
        vitcam.explain(model, images[:1], "reciprocam", 4)
        del calls[:]
        again = vitcam.explain(model, images[:1], "reciprocam", 4, block=1)
    finally:
        for handle in handles:
            handle.remove()
    assert sum(count for number, count in calls if number == 0) < 17
    assert sum(count for number, count in calls if number == 1) >= 17
    assert again.method == "reciprocam(block=1)"


class Skipping(HomemadeViT):
    """Its head reads what the first block gave, too."""

    def forward(self, images):
        kept = []
        handle = self.blocks[0].register_forward_hook(
            lambda m, args, output: kept.append(output[:, 0].norm(dim=1))
        )
        try:
            return super().forward(images) * kept[0][:, None]
        finally:
            handle.remove()


def test_reciprocam_of_a_model_that_reads_earlier_blocks(images):
    """What the first block gave comes from the record, as it was."""
    model, image = Skipping(), images[:1]
    e = vitcam.explain(model, image, "reciprocam", 1)
    with torch.no_grad():
        share = model(image) / HomemadeViT()(image)
    plain = vitcam.explain(HomemadeViT(), image, "reciprocam", 1)
    torch.testing.assert_close(e.heatmaps, plain.heatmaps * share[0, 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("shapley(cells=4, budget=50)", "at least 62 as budget for 16 cells .two pairs of orders., not 50"),
        ("shapley(cells=1)", "needs at least two cells"),
        ("tis(budget=1000)", "tis has 144 channels for budget=1000 masks; give a smaller budget"),
        ("tis(keep=0.01)", "tis keeps a share between 0 and 1 of the 16 patches, such as 0.5; not 0.01"),
        ("scorecam(budget=1)", "at least 2 as budget, or 0 for every channel,, not 1"),
        ("reciprocam(block=3)", "reciprocam has no block=3; this model's blocks are 0 to 2"),
    ],
)
def test_wrong_options(model, images, method, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model, images, method)
