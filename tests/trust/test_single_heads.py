"""Attention of chosen heads and of a chosen query, against attention computed by hand."""

from __future__ import annotations

import re

import pytest
import torch
from random_vits import RandomViT, draw
from torch import nn

import vitcam
from contract.oracle import explicit_attention
from families import images_of, model_of
from small_models import HomemadeViT, perturbed
from vitcam.errors import MethodError
from vitcam.methods import canonical_name, find_method


def maps_by_hand(model, images):
    """A of every layer: (batch, heads, queries, keys)."""
    layers = []
    with explicit_attention(layers, None):
        model(images)
    return [layer.maps.detach() for layer in layers]


@pytest.fixture(scope="module")
def model():
    return perturbed(HomemadeViT(), 0.2)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 32, 24, generator=torch.Generator().manual_seed(4))


QUERIES = {"head": [0], (1, 2): [1 + 5], (-1, 0): [1 + 9], 0: [0], 4: [4], -1: [12]}
HEADS = {"mean": [0, 1, 2], (0, 2): [0, 2], (-1,): [2]}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("heads", [*HEADS, "max"])
@pytest.mark.parametrize("layer", [-1, 1])
def test_heads_and_queries(model, images, heads, query, layer):
    row = maps_by_hand(model, images)[layer][:, :, QUERIES[query]].mean(dim=2)
    expected = row.amax(dim=1) if heads == "max" else row[:, HEADS[heads]].mean(dim=1)
    given = {"layer": layer, "heads": heads if isinstance(heads, str) else list(heads), "query": query}
    found = vitcam.explain(model, images, "attention", targets=[[0, 1]] * 3, **given)
    torch.testing.assert_close(found.heatmaps, expected[:, None, 1:].expand(-1, 2, -1).unflatten(2, (4, 3)))


@pytest.mark.parametrize("query", QUERIES)
def test_all_heads_of_a_layer(model, images, query):
    expected = maps_by_hand(model, images)[1][:, :, QUERIES[query], 1:].mean(dim=2).unflatten(2, (4, 3))
    found = vitcam.attention_heads(model, images, layer=1, query=query)
    torch.testing.assert_close(found, expected)
    apart = vitcam.attention_heads(model, images, layer=1, query=query, batch_size=2)
    torch.testing.assert_close(apart, expected)


def test_max_of_a_head_that_reads_many_tokens_is_taken_row_by_row(images):
    model = perturbed(HomemadeViT(pool="mean"), 0.2)
    expected = maps_by_hand(model, images)[-1][:, :, 1:].amax(dim=1).mean(dim=1)[:, 1:]
    found = vitcam.explain(model, images, "attention", heads="max").heatmaps
    torch.testing.assert_close(found.flatten(1), expected)


@pytest.mark.parametrize("seed", range(12))
def test_a_patch_is_asked_where_its_token_stands(seed):
    drawn = next(
        drawn
        for number in range(seed * 100, seed * 100 + 99)
        if (drawn := draw(number)).attention in ("fused", "three dimensions")
    )
    model = RandomViT(drawn).eval()
    images = torch.randn(2, 3, *drawn.size, generator=torch.Generator().manual_seed(1))
    row, column = drawn.grid[0] - 1, 0
    tokens = [drawn.order.index(place) for place in range(drawn.grid[0] * drawn.grid[1])]
    maps = maps_by_hand(model, images)[-1]
    maps = maps if maps.dim() == 4 else maps.unflatten(0, (2, -1))
    expected = maps[:, :, tokens[row * drawn.grid[1] + column]][:, :, tokens]
    found = vitcam.attention_heads(model, images, query=(row, column))
    torch.testing.assert_close(found.flatten(2), expected)


def test_a_pooling_attention_has_the_heads_query_alone():
    model, images = model_of("timm siglip"), images_of("timm siglip")
    pooling, before = maps_by_hand(model, images)[-1], maps_by_hand(model, images)[-2]
    found = vitcam.attention_heads(model, images)
    torch.testing.assert_close(found.flatten(2), pooling.mean(dim=2), atol=1e-5, rtol=1e-4)
    found = vitcam.attention_heads(model, images, layer=-2, query=(0, 1))
    torch.testing.assert_close(found.flatten(2), before[:, :, 1], atol=1e-5, rtol=1e-4)
    for query in ((0, 1), 0):
        why = rf"no query={re.escape(repr(query))} in this layer, .*pools the tokens with queries of its own"
        with pytest.raises(MethodError, match=why):
            vitcam.attention_heads(model, images, query=query)


def test_class_attention_has_the_class_tokens_query_alone():
    model, images = model_of("timm cait"), images_of("timm cait")
    last = maps_by_hand(model, images)[-1]
    for query in ("head", 0):
        found = vitcam.attention_heads(model, images, query=query)
        torch.testing.assert_close(found.flatten(2), last[:, :, 0, 1:], atol=1e-5, rtol=1e-4)
    with pytest.raises(MethodError, match="has queries for the first 1 tokens only"):
        vitcam.explain(model, images, "attention", query=(2, 3))


class Twice(nn.Module):
    """Sees an image and its mirror image."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images) + self.inner(images.flip(-1))


def test_streams_add_up_place_for_place(model, images):
    once, mirrored = maps_by_hand(model, images)[-1], maps_by_hand(model, images.flip(-1))[-1]

    def laid(maps, row, column):
        return maps[:, :, 1 + row * 3 + column, 1:].unflatten(2, (4, 3))

    expected = laid(once, 1, 2) + laid(mirrored, 1, 0).flip(-1)
    found = vitcam.attention_heads(Twice(model), images, query=(1, 2))
    torch.testing.assert_close(found, expected)
    with pytest.raises(MethodError, match=r"query=3: this model has 2 streams"):
        vitcam.explain(Twice(model), images, "attention", query=3)
    with pytest.raises(MethodError, match="can't be taken apart: it adds up over 2 streams"):
        vitcam.decompose(Twice(model), images)


class Backbone(HomemadeViT):
    def __init__(self, everything):
        super().__init__(head=nn.LayerNorm(24))
        self.everything = everything

    def forward(self, images):
        if not self.everything:
            return super().forward(images)
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return {"last_hidden_state": self.head(x)}


@pytest.mark.parametrize("everything", [False, True])
def test_backbones_without_a_head(images, everything):
    model = perturbed(Backbone(everything), 0.2)
    maps = maps_by_hand(model, images)[-1][..., 1:].unflatten(-1, (4, 3))
    expected = maps.mean(dim=2) if everything else maps[:, :, 0]
    torch.testing.assert_close(vitcam.attention_heads(model, images), expected)
    torch.testing.assert_close(vitcam.attention_heads(model, images, query=0), maps[:, :, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": [3]}, r"can't use heads=\[3\]; give 'mean', 'max', or a list of heads from 0 to 2"),
        ({"heads": []}, r"can't use heads=\[\]"),
        ({"heads": [True]}, r"can't use heads=\[True\]"),
        ({"heads": "min"}, "can't use heads='min'"),
        ({"heads": 1}, "takes a string or a list as heads, such as 'mean'; not 1"),
        (
            {"query": (4, 0)},
            r"no query=\(4, 0\); give 'head', a patch \(row, column\) of 4×3, or a token from 0",
        ),
        ({"query": (0, 0, 0)}, r"no query=\(0, 0, 0\)"),
        ({"query": 13}, "no query=13; .* a token from 0 to 12"),
        ({"query": "class"}, "no query='class'"),
        ({"query": 1.5}, "takes a string or a list or a whole number as query, such as 'head'; not 1.5"),
        ({"query": True}, "takes a string or a list or a whole number as query"),
        ({"layer": 3}, "no layer=3"),
    ],
)
def test_what_there_is_not(model, images, options, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model, images, "attention", **options)


def test_names_say_heads_and_query():
    name = "attention(layer=3, heads=[0, 3], query=(1, 2))"
    assert canonical_name(*find_method(name)) == name
    assert canonical_name(*find_method("attention(heads='mean', query='head')")) == "attention"
    assert canonical_name(*find_method("attention(query=0)")) == "attention(query=0)"
