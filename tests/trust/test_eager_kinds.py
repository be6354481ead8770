"""Written-out attention is recognised in whatever way it is written, and nothing else is taken for it."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F

import vitcam
from small_models import HomemadeViT, torchs_attention
from vitcam.errors import ModelError
from vitcam.recording.interception import intercept

IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
TARGETS = [[0, 3], [1, 2]]
METHODS = ["agcam", "attention", "gae", "legrad"]


def scores(q, k):
    return q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5


def recorded_in_a_hook(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    recorded_in_a_hook.kept = weights.clone()
    return weights @ v


def copy_used_original_kept(q, k, v, dropout):
    weights = copy_used_original_kept.kept = torch.softmax(scores(q, k), dim=-1)
    return weights.clone().contiguous() @ v


def picture_taken(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    picture_taken.kept = weights.detach().cpu().numpy()
    return weights.matmul(v)


def by_keywords(q, k, v, dropout):
    s = torch.matmul(input=q, other=torch.transpose(input=k, dim0=-2, dim1=-1))
    weights = F.softmax(input=s * q.shape[-1] ** -0.5, dim=-1, dtype=torch.float32)
    return torch.matmul(input=weights, other=v)


def by_named_batched_product(q, k, v, dropout):
    batch, heads, tokens, dim = q.shape
    q, k, v = (x.reshape(batch * heads, tokens, dim) for x in (q, k, v))
    weights = torch.softmax(input=torch.bmm(q, mat2=k.mT) * dim**-0.5, dim=2)
    return torch.bmm(input=weights, mat2=v).view(batch, heads, tokens, dim)


def flattened_and_back(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    again = weights.flatten(0, 1).unsqueeze(0).type(torch.float64).to(q.dtype)
    return torch.linalg.matmul(again.reshape(weights.shape).view_as(weights), v)


def cleaned_up(q, k, v, dropout):
    weights = torch.nan_to_num(scores(q, k).softmax(-1), nan=0.0).clamp(min=0, max=1)
    return dropout(weights.nan_to_num().type_as(v)) @ v


def transposed(q, k, v, dropout):
    weights = (k @ q.mT * q.shape[-1] ** -0.5).softmax(dim=-2)
    return (v.transpose(-2, -1) @ weights).transpose(-2, -1)


def transposed_later(q, k, v, dropout):
    weights = scores(q, k).softmax(-1).permute(0, 1, 3, 2)
    return torch.matmul(v.swapaxes(-1, -2), weights).mT


def tokens_before_heads(q, k, v, dropout):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    weights = torch.einsum("bihd,bjhd->bhij", q, k).mul(q.shape[-1] ** -0.5).softmax(-1)
    return torch.einsum("bhij,bjhd->bihd", weights, v).transpose(1, 2)


def heads_last(q, k, v, dropout):
    weights = torch.einsum("bhid,bhjd->bijh", q, k).mul(q.shape[-1] ** -0.5).softmax(dim=2)
    return torch.einsum("b h j d, b i j h -> b h i d", v, weights)


def with_an_ellipsis(q, k, v, dropout):
    weights = torch.einsum("...id,...jd->...ij", q, k).mul(q.shape[-1] ** -0.5).softmax(-1)
    return torch.einsum("...ij,...jd->...id", [weights, v])


def by_logsumexp(q, k, v, dropout):
    s = scores(q, k) * 2 / 2.0
    return torch.exp(s - s.logsumexp(-1, keepdim=True)) @ v


def by_functions_of_logarithms(q, k, v, dropout):
    s = scores(q, k)
    return torch.sub(s, other=torch.logsumexp(s, dim=(3,), keepdim=True)).exp().clone() @ v


def by_log_softmax(q, k, v, dropout):
    return F.log_softmax(scores(q, k), dim=-1).exp() @ v


def by_logsumexp_transposed(q, k, v, dropout):
    s = k @ q.mT * q.shape[-1] ** -0.5
    return (v.mT @ (s - s.logsumexp(-2, True)).exp()).mT


def rollout_of_its_own(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    rollout_of_its_own.kept = weights @ weights.clone()
    rollout_of_its_own.kept = weights @ rollout_of_its_own.kept
    return weights @ v


def in_place_afterwards(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    output = weights @ v
    weights.zero_()
    return output


KINDS = [
    recorded_in_a_hook,
    copy_used_original_kept,
    picture_taken,
    by_keywords,
    by_named_batched_product,
    flattened_and_back,
    cleaned_up,
    transposed,
    transposed_later,
    tokens_before_heads,
    heads_last,
    with_an_ellipsis,
    by_logsumexp,
    by_functions_of_logarithms,
    by_log_softmax,
    by_logsumexp_transposed,
    rollout_of_its_own,
]


@pytest.fixture(scope="module")
def by_torch():
    return vitcam.compare(HomemadeViT(torchs_attention), IMAGES, METHODS, targets=TARGETS)


@pytest.mark.parametrize("attend", KINDS)
def test_same_maps_as_by_torchs_function(attend, by_torch):
    ours = vitcam.compare(HomemadeViT(attend), IMAGES, METHODS, targets=TARGETS)
    for method in METHODS:
        torch.testing.assert_close(ours[method].heatmaps, by_torch[method].heatmaps, rtol=1e-4, atol=1e-6)


def mixed_by_a_product_of_heads(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    mix = torch.eye(q.shape[1]) + 0.1
    return torch.einsum("bhij,hg->bgij", weights, mix) @ v


def difference_of_two(q, k, v, dropout):
    one, other = (scores(x, y).softmax(-1) for x, y in ((q, k), (k, q)))
    return (one - 0.5 * other) @ v


def normalised_again(q, k, v, dropout):
    weights = scores(q, k).softmax(-1) + 1e-2
    return weights / weights.sum(-1, keepdim=True) @ v


def clamped(q, k, v, dropout):
    return scores(q, k).softmax(-1).clamp(max=0.01) @ v


def rows_that_were_hidden(q, k, v, dropout):
    s = scores(q, k)
    s[:, :, 3] = -torch.inf
    return s.softmax(-1).nan_to_num() @ v


def scores_written_over(q, k, v, dropout):
    s = scores(q, k)
    weights = s.softmax(-1)
    s.mul_(2)
    return weights @ v


def written_behind_torchs_back(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    weights.data.mul_(0.5)
    return weights @ v


def written_through_a_view(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    weights.view(-1)[::3] = 0
    return weights @ v


def written_in_numpy(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    weights.detach().numpy()[:] *= 0.5
    return weights @ v


def queries_and_keys_exchanged(q, k, v, dropout):
    return scores(q, k).softmax(-1).transpose(-2, -1) @ v


def other_bits(q, k, v, dropout):
    weights = scores(q, k).softmax(-1).half()
    return weights.view(torch.bfloat16).float() @ v


def summed_over_two_axes(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    return torch.einsum("bhij,bhjd->bid", weights, v)[:, None].expand(q.shape)


def written_without_a_sum(q, k, v, dropout):
    weights = scores(q, k).softmax(-1)
    return torch.einsum("bhij,bhjd->bhijd", weights, v).sum(3)


def by_the_logsumexp_of_others(q, k, v, dropout):
    s = scores(q, k)
    return torch.exp(s - (s + 0.1).logsumexp(-1, keepdim=True)) @ v


def by_more_than_the_logsumexp(q, k, v, dropout):
    s = scores(q, k)
    return torch.exp(torch.sub(s, s.logsumexp(-1, keepdim=True), alpha=2)) @ v


def by_the_logsumexp_of_queries(q, k, v, dropout):
    s = scores(q, k)
    return torch.exp(s - s.logsumexp(-2, keepdim=True)) @ v


def log_softmax_written_over(q, k, v, dropout):
    s = scores(q, k)
    logarithms = s - s.logsumexp(-1, keepdim=True)
    return logarithms.mul_(2).exp() @ v


HOSTILE = [
    by_the_logsumexp_of_others,
    by_more_than_the_logsumexp,
    by_the_logsumexp_of_queries,
    log_softmax_written_over,
    mixed_by_a_product_of_heads,
    difference_of_two,
    normalised_again,
    clamped,
    rows_that_were_hidden,
    scores_written_over,
    written_behind_torchs_back,
    written_through_a_view,
    written_in_numpy,
    queries_and_keys_exchanged,
    other_bits,
    summed_over_two_axes,
    written_without_a_sum,
]


def tensors(seed=0, tokens=9):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, tokens, 8, generator=generator) for _ in range(3)]


def attentions(attend, inputs):
    """The calls that are recognised in an attention, and whether what it gives stays the same."""
    calls = []
    with torch.no_grad():
        expected = attend(*(x.clone() for x in inputs), torch.nn.Identity())
        with intercept(lambda call: calls.append(call) or call.run(), eager=True):
            output = attend(*(x.clone() for x in inputs), torch.nn.Identity())
    torch.testing.assert_close(output, expected, equal_nan=True)
    return calls


@pytest.mark.parametrize("attend", HOSTILE)
def test_changed_weights_are_not_recognised(attend):
    assert attentions(attend, tensors()) == []
    with pytest.raises(ModelError, match="no attention was seen"):
        vitcam.explain(HomemadeViT(attend), IMAGES)


def test_weights_written_over_after_the_product_were_still_an_attention():
    assert len(attentions(in_place_afterwards, tensors())) == 1


def test_dropout_that_evaluation_does_not_switch_off_is_no_attention():
    def attend(q, k, v, dropout):
        torch.manual_seed(3)
        return F.dropout(scores(q, k).softmax(-1), 0.5) @ v

    assert attentions(attend, tensors()) == []


def test_two_softmaxes_under_way_at_once_get_their_own_scores():
    q, k, v = tensors()

    def attend(q, k, v, dropout):
        one, other = scores(q, k).softmax(-1), scores(k, q).softmax(-1)
        kept = other.clone()
        return one @ v - 0.3 * (kept @ v)

    first, second = attentions(attend, (q, k, v))
    torch.testing.assert_close(first.mask, scores(q, k))
    torch.testing.assert_close(second.mask, scores(k, q))


def test_two_products_of_one_softmax_are_two_attentions():
    def attend(q, k, v, dropout):
        weights = scores(q, k).softmax(-1)
        return weights @ v + weights @ v.flip(-1)

    first, second = attentions(attend, tensors())
    torch.testing.assert_close(first.value.flip(-1), second.value)


def test_values_that_several_heads_or_images_share():
    def attend(q, k, v, dropout):
        return scores(q, k).softmax(-1) @ v[:, :1]

    def of_one_map(q, k, v, dropout):
        return scores(q, k)[:1].softmax(-1) @ v

    def by_einsum(q, k, v, dropout):
        return torch.einsum("bhij,bjd->bhid", scores(q, k).softmax(-1), v[:, 0])

    for each in (attend, of_one_map, by_einsum):
        (call,) = attentions(each, tensors())
        assert call.value.shape == (2, 3, 9, 8)


def test_a_cut_in_the_gradient_is_kept():
    q, k, v = (x.requires_grad_() for x in tensors())
    with intercept(lambda call: call.run(), eager=True):
        cut = scores(q, k).softmax(-1).detach() @ v
    assert torch.autograd.grad(cut.sum(), (q, v), allow_unused=True)[0] is None


def test_a_cut_in_the_gradient_of_a_logsumexp_is_no_softmax():
    q, k, v = (x.requires_grad_() for x in tensors())
    seen = []
    with intercept(lambda call: seen.append(call) or call.run(), eager=True):
        s = scores(q, k)
        with torch.no_grad():
            total = s.logsumexp(-1, keepdim=True)
        _ = (s - total).exp() @ v
    assert seen == []


def test_weights_that_a_transform_of_functions_or_a_sparse_format_takes_up():
    def attend(q, k, v, dropout):
        weights = scores(q, k).softmax(-1)
        weights.to_sparse()
        torch.func.vmap(lambda factor: weights * factor)(torch.ones(2))
        return weights @ v

    assert len(attentions(attend, tensors())) == 1


def test_nothing_is_kept_of_weights_that_the_model_lets_go():
    from vitcam.recording.eager import EagerRecogniser

    seen, s = EagerRecogniser(), torch.randn(1, 2, 4, 4)
    weights = s.softmax(-1)
    seen.see(torch.softmax, (s, -1), {}, weights)
    again = weights.clone()
    seen.see(torch.clone, (weights,), {}, again)
    assert len(seen._holders) == 2
    del weights, again
    assert not seen._holders


HARMLESS = [
    lambda a: a.clone(),
    lambda a: a.contiguous(),
    lambda a: a.view(a.shape),
    lambda a: a.reshape(-1, *a.shape[-2:]).view(a.shape),
    lambda a: a.flatten(0, 1).unflatten(0, a.shape[:2]),
    lambda a: a.unsqueeze(0).squeeze(0),
    lambda a: a.type(torch.float64).float(),
    lambda a: a.to(torch.float32),
    lambda a: a.nan_to_num(0.0),
    lambda a: torch.nan_to_num(input=a),
    lambda a: F.dropout(a, 0.5, training=False),
    lambda a: F.dropout(a, 0.5, training=False, inplace=True),
    lambda a: a.mT.mT,
    lambda a: a.transpose(1, 3).transpose(1, 3),
    lambda a: a.permute(3, 0, 1, 2).permute(1, 2, 3, 0),
    lambda a: a[:],
    lambda a: a[..., :, :],
    lambda a: a.requires_grad_(False),
    lambda a: F.relu(a),
]
CHANGES = [
    lambda a: a * 0.9,
    lambda a: a.mul_(0.9),
    lambda a: a + 1e-3,
    lambda a: a.flip(1),
    lambda a: a.roll(1, -1),
    lambda a: a.softmax(-1),
    lambda a: a**2,
    lambda a: a - a.mean(-1, keepdim=True),
    lambda a: a.masked_fill(a < a.mean(), 0.0),
    lambda a: a.transpose(-2, -1),
    lambda a: a.clamp(min=0.1),
    lambda a: a.round(decimals=2),
    lambda a: torch.where(torch.ones_like(a) > 0, a.sqrt(), a),
    lambda a: a.sort(-1).values,
]
PRODUCTS = [
    lambda a, v: a @ v,
    lambda a, v: torch.matmul(input=a, other=v),
    lambda a, v: a.matmul(other=v),
    lambda a, v: torch.einsum("bhij,bhjd->bhid", a, v),
    lambda a, v: torch.einsum("bhjd,bhij->bihd", v, a).transpose(1, 2),
    lambda a, v: (v.mT @ a.mT).mT,
    lambda a, v: torch.bmm(a.flatten(0, 1), v.flatten(0, 1)).unflatten(0, v.shape[:2]),
]


def chain(steps, product):
    def attend(q, k, v, dropout):
        weights, kept = scores(q, k).softmax(-1), []
        for step in steps:
            kept.append(weights)
            weights = step(weights)
        return product(weights, v)

    return attend


@pytest.mark.parametrize("seed", range(40))
def test_random_chains_of_what_leaves_the_weights_as_they_are(seed):
    draw = random.Random(seed)
    q, k, v = tensors(seed)
    steps = draw.choices(HARMLESS, k=draw.randint(1, 6))
    (call,) = attentions(chain(steps, draw.choice(PRODUCTS)), (q, k, v))
    torch.testing.assert_close(call.mask.reshape(2, 3, 9, 9), scores(q, k))
    torch.testing.assert_close(call.value.reshape(v.shape), v)


@pytest.mark.parametrize("seed", range(40))
def test_random_chains_with_one_change_in_them(seed):
    draw = random.Random(seed)
    before, after = (draw.choices(HARMLESS, k=draw.randint(0, 4)) for _ in range(2))
    steps = [*before, draw.choice(CHANGES), *after]
    calls = attentions(chain(steps, draw.choice(PRODUCTS)), tensors(seed))
    second_softmax = [
        call for call in calls if call.mask.abs().max() <= 1
    ]  # a softmax of weights is one, of them
    assert calls == second_softmax
