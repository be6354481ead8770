"""Tokens are laid over the image where they are: found, corrected, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import vitcam
from vitcam.errors import ModelError
from vitcam.recording.places import measured_grid


class Ordered(nn.Module):
    """A ViT whose tokens are laid out by a function of (patches (batch, tokens, channels), class token)."""

    def __init__(self, order, channels=12):
        super().__init__()
        torch.manual_seed(0)
        self.order = order
        self.embed = nn.Conv2d(3, channels, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, channels))
        layers = [nn.TransformerEncoderLayer(channels, 3, 24, batch_first=True) for _ in range(2)]
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(channels, 5)

    def forward(self, images):
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = self.order(patches, self.token.expand(len(patches), -1, -1))
        return self.head(self.blocks(tokens).mean(dim=1))


IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))


def test_tokens_behind_the_patches():
    between = Ordered(lambda patches, token: torch.cat([token, patches, token, token], dim=1))
    found = vitcam.explain(between, IMAGES, targets=2)
    given = vitcam.explain(between, IMAGES, targets=2, prefix=1, grid=(4, 5))
    assert found.heatmaps.shape == (2, 1, 4, 5)
    torch.testing.assert_close(found.heatmaps, given.heatmaps)
    # A mean over tokens without places: where they stand changes nothing.
    in_front = Ordered(lambda patches, token: torch.cat([token, token, token, patches], dim=1))
    torch.testing.assert_close(found.heatmaps, vitcam.explain(in_front, IMAGES, targets=2).heatmaps)


def by_columns(patches, token):
    return torch.cat([token, patches.unflatten(1, (4, 5)).transpose(1, 2).flatten(1, 2)], dim=1)


@pytest.mark.parametrize(
    "method", ["agcam", "rollout", "gae", "legrad", "gradcam", "attention", "gradsam", "lrp"]
)
def test_patches_in_another_order_are_laid_where_they_are(method):
    # A mean over tokens: their order changes nothing.
    rows = Ordered(lambda patches, token: torch.cat([token, patches], dim=1))
    found = vitcam.explain(Ordered(by_columns), IMAGES, method, targets=2).heatmaps
    expected = vitcam.explain(rows, IMAGES, method, targets=2).heatmaps
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def some_at_random(patches, token):
    shuffled = torch.rand(patches.shape[:2]).argsort(dim=1)[..., None].expand_as(patches)
    return torch.cat([token, patches.gather(1, shuffled)], dim=1)


def test_tokens_that_are_others_each_time_are_refused():
    with pytest.raises(ModelError, match="makes other tokens of the same image each time"):
        vitcam.explain(Ordered(some_at_random), IMAGES)


def test_pooling_by_more_queries_than_tokens():
    class Pooled(Ordered):
        def __init__(self):
            super().__init__(lambda patches, token: patches)
            self.queries = nn.Parameter(torch.randn(1, 30, 12))
            self.pool = nn.MultiheadAttention(12, 3, batch_first=True)

        def forward(self, images):
            tokens = self.blocks(self.embed(images).flatten(2).transpose(1, 2))
            pooled, _ = self.pool(self.queries.expand(len(tokens), -1, -1), tokens, tokens)
            return self.head(pooled[:, 0])

    for e in vitcam.compare(Pooled(), IMAGES, ["agcam", "rollout", "gae", "legrad"]).values():
        assert e.heatmaps.shape == (2, 1, 4, 5)
        assert (e.heatmaps.flatten(1).std(dim=1) > 0).all()


def test_legrad_says_that_blocks_of_other_sizes_have_no_common_head():
    class Growing(Ordered):
        def __init__(self):
            super().__init__(lambda patches, token: patches)
            self.widen = nn.Linear(12, 24)
            layer = nn.TransformerEncoderLayer(24, 3, 24, batch_first=True)
            self.blocks = nn.ModuleList([self.blocks[0], layer])
            self.head = nn.Linear(24, 5)

        def forward(self, images):
            tokens = self.blocks[0](self.embed(images).flatten(2).transpose(1, 2))
            return self.head(self.blocks[1](self.widen(tokens)).mean(dim=1))

    with pytest.raises(vitcam.errors.MethodError, match="legrad isn't defined for Growing"):
        vitcam.explain(Growing(), IMAGES, "legrad")
    assert vitcam.explain(Growing(), IMAGES, "gae").heatmaps.isfinite().all()


class PooledPatches(Ordered):
    """A ViT whose head reads the patches through an attention, and no other token."""

    def __init__(self, hides):
        super().__init__(lambda patches, token: torch.cat([token, patches], dim=1))
        self.hides = hides
        self.query = nn.Parameter(torch.randn(1, 1, 12))
        self.pool = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, images):
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = self.blocks(self.order(patches, self.token.expand(len(patches), -1, -1)))
        hidden = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        hidden[:, 0] = self.hides
        if not self.hides:
            tokens, hidden = tokens[:, 1:], None
        pooled, _ = self.pool(self.query.expand(len(tokens), -1, -1), tokens, tokens, key_padding_mask=hidden)
        return self.head(pooled[:, 0])


def test_pooling_of_patches_only_is_pooling_with_the_other_tokens_hidden():
    methods = [
        "agcam",
        "agcam(normalization='none')",
        "attention",
        "rollout",
        "gae",
        "gradsam",
        "legrad",
        "gradcam",
    ]
    expected = vitcam.compare(PooledPatches(hides=True), IMAGES, methods, targets=[[1, 2], [0, 3]])
    found = vitcam.compare(PooledPatches(hides=False), IMAGES, methods, targets=[[1, 2], [0, 3]])
    for method in methods:
        assert (found[method].heatmaps.flatten(2).std(dim=2) > 0).all()
        torch.testing.assert_close(found[method].heatmaps, expected[method].heatmaps, rtol=1e-4, atol=1e-7)


def test_pooling_of_other_tokens_is_an_obstacle():
    model = PooledPatches(hides=False)
    model.pool.forward = lambda q, k, v, key_padding_mask: nn.MultiheadAttention.forward(
        model.pool, q, k[:, :7], v[:, :7], need_weights=False
    )
    with pytest.raises(
        vitcam.errors.MethodError, match="the attention that pools its 21 tokens sees 7 of them"
    ):
        vitcam.explain(model, IMAGES)


def test_one_token_that_answers_to_a_part_of_the_image_makes_no_grid():
    def respond(images):
        left = images[..., : images.shape[-1] // 2].mean(dim=(1, 2, 3))
        return torch.stack([left, *[torch.ones_like(left)] * 4], dim=1)[..., None]

    assert measured_grid(respond, torch.randn(1, 3, 16, 16), [], []) is None
