"""Which token is which place is measured: right on models of random structure, or refused."""

from __future__ import annotations

import pytest
import torch
from random_vits import Drawn, RandomViT, draw, searched_order

import vitcam
from vitcam.errors import VitcamError
from vitcam.recording import Need, Score, record

PREDICTED = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))


def image_of(drawn, batch=1):
    return torch.randn(batch, 3, *drawn.size, generator=torch.Generator().manual_seed(1))


def region_of(drawn):
    top, left = (0, 0) if drawn.crop is None else drawn.crop[:2]
    # A cell is as large as a step, and around the middle of its patch.
    edges = [
        (start + (patch - stride) / 2, start + (patch - stride) / 2 + count * stride)
        for start, patch, stride, count in zip(
            (top, left), drawn.patch, drawn.stride, drawn.grid, strict=True
        )
    ]
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


@pytest.mark.parametrize("seed", range(120))
def test_random_structures(seed):
    drawn = draw(seed)
    model = RandomViT(drawn).eval()
    grid = record(model, image_of(drawn), PREDICTED, Need.NOTHING).layout.grid
    assert (grid.height, grid.width) == drawn.grid
    tokens = range(len(drawn.order))
    found = list(tokens)[grid.patches] if isinstance(grid.patches, slice) else grid.patches
    if drawn.patch == drawn.stride:  # or the middle of a patch may be seen by another
        assert found == searched_order(model, image_of(drawn))
    assert found == [drawn.order.index(place) for place in range(drawn.grid[0] * drawn.grid[1])]
    said = grid.region or (0, 0, *drawn.size)
    overlapping = drawn.patch != drawn.stride
    for side, (a, b) in enumerate(zip(said, region_of(drawn), strict=True)):
        assert abs(a - b) <= (0.75 * drawn.stride[side % 2] if overlapping else 1.0)


@pytest.mark.parametrize("seed", range(0, 120, 12))
def test_attention_is_read_at_those_places(seed):
    drawn = draw(seed)
    model, images = RandomViT(drawn).eval(), image_of(drawn, 2)
    recording = record(model, images, PREDICTED, Need.MAPS)
    last = recording.layers[-1].probabilities().mean(dim=1)
    row = last.mean(dim=1) if drawn.head == "mean" else last[:, drawn.order.index(-1)]
    expected = row[:, [drawn.order.index(place) for place in range(drawn.grid[0] * drawn.grid[1])]]
    found = vitcam.explain(model, images, "attention").heatmaps.flatten(1)
    torch.testing.assert_close(found, expected)


class Shuffled(RandomViT):
    """Puts its tokens in another order between two blocks, or mixes them."""

    def __init__(self, drawn, between):
        super().__init__(drawn)
        self.between = between

    def forward(self, images):
        x = self.blocks[0](self.tokens(images))
        return self.head(self.norm(self.blocks[1](self.between(x))).mean(dim=1))


HIDDEN = {
    "rolled": lambda x: x.roll(1, dims=1),
    "flipped": lambda x: x.flip(1),
    "shuffled": lambda x: x[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(3))],
    "mixed": lambda x: x + 3 * x.mean(dim=1, keepdim=True) * torch.randn(1, 1, x.shape[-1]),
    "merged in pairs": lambda x: x.unflatten(1, (-1, 2)).mean(2).repeat_interleave(2, 1),
    "sorted by what is in the image": lambda x: x.gather(
        1, x.norm(dim=-1).argsort(1)[..., None].expand_as(x)
    ),
}


@pytest.mark.parametrize("between", HIDDEN)
@pytest.mark.parametrize("method", ["agcam", "rollout", "gae", "attention"])
def test_tokens_that_change_places_between_layers_are_refused(between, method):
    drawn = next(
        drawn for seed in range(500) if (drawn := draw(seed)).grid == (4, 4) and -1 not in drawn.order
    )
    model = Shuffled(drawn, HIDDEN[between]).eval()
    with pytest.raises(VitcamError, match=r"aren't those of|couldn't be confirmed|another number of tokens"):
        vitcam.explain(model, image_of(drawn), method)


def test_rows_and_columns_of_one_patch():
    for grid in ((1, 7), (7, 1), (1, 2)):
        size, order = (8 * grid[0], 8 * grid[1]), (-1, *range(grid[0] * grid[1]))
        drawn = Drawn(size, (8, 8), (8, 8), order, "linear", "fused", "token", None)
        model = RandomViT(drawn).eval()
        assert vitcam.explain(model, image_of(drawn)).heatmaps.shape[2:] == grid
