"""A layer whose attention isn't recognised is no reason to show the others' as the model's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hostile_models import METHODS, Block, Of, ViT, assert_same, explained, refused
from torch import nn

OF_LAYERS = tuple(name for name in METHODS if name not in ("gradcam", "attnlrp"))


def scores_of(q, k):
    return q @ k.mT * q.shape[-1] ** -0.5


class ByHand(Block):
    def attend(self, q, k, v):
        weights = (scores_of(q, k) - scores_of(q, k).amax(-1, keepdim=True)).exp()
        return (weights / weights.sum(-1, keepdim=True)) @ v


class Talking(Block):
    def __init__(self):
        super().__init__()
        self.talk = nn.Linear(3, 3)

    def attend(self, q, k, v):
        weights = scores_of(q, k).softmax(-1)
        return self.talk(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) @ v


class Difference(Block):
    def attend(self, q, k, v):
        one, other = torch.stack([scores_of(q, k), scores_of(k, q)]).softmax(-1).unbind()
        return torch.einsum("bhij,bhjd->bhid", one - 0.4 * other, v)


class Linear(Block):
    def attend(self, q, k, v):
        return q.softmax(-1) @ (k.softmax(-2).mT @ v)


class WithBias(Block):
    def attend(self, q, k, v):
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        scores = torch.baddbmm(torch.zeros(len(q), q.shape[1], q.shape[1]), q, k.mT, beta=0, alpha=0.35)
        weights = scores.exp()
        return torch.bmm(weights / weights.sum(-1, keepdim=True), v).unflatten(0, (-1, 3))


KINDS = [ByHand, Talking, Difference, Linear, WithBias]


def with_one(kind, index):
    model = ViT()
    torch.manual_seed(1)
    block = kind()
    block.load_state_dict(model.blocks[index].state_dict(), strict=False)
    model.blocks[index] = block
    return model.eval()


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_one_layer_of_attention_that_is_not_recognised(kind, index):
    reasons = (
        "queries of its own",
        "queries of the model's own",
    )  # of linear attention, whose queries are channels
    refused(
        explained(with_one(kind, index), methods=OF_LAYERS),
        *reasons,
        "computes attention in another way",
        "couldn't be",
    )


@pytest.mark.parametrize("index", [1, 2])
def test_gradcam_looks_at_the_last_block_all_the_same(index):
    found = explained(with_one(ByHand, index), methods=("gradcam",))
    assert_same(found, explained(ViT(), methods=("gradcam",)))


def test_maps_multiplied_with_maps_and_a_map_in_the_head_are_no_attention():
    class Keeping(Block):
        def attend(self, q, k, v):
            self.kept = scores_of(q, k).softmax(-1)
            return self.kept @ v

    def forward(x, net):
        logits = net(x)
        rollout = net.blocks[0].kept
        for block in net.blocks[1:]:
            rollout = block.kept @ rollout
        return logits + 0 * rollout.sum((1, 2, 3))[:, None]

    model = Of(forward, ViT(block=Keeping))
    methods = ("agcam", "attention", "rollout")
    assert_same(explained(model, methods=methods), explained(ViT(), methods=methods))


def test_products_of_the_image_with_weights_are_none():
    class Relative(Block):
        """Positions relative to the query are part of S; a linear layer is written as a product."""

        def __init__(self):
            super().__init__()
            self.places = nn.Parameter(torch.zeros(8, 17))

        def attend(self, q, k, v):
            return F.softmax(scores_of(q, k) + torch.einsum("bhid,dj->bhij", q, self.places), -1) @ v

        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            inner = torch.matmul(self.norm2(x), self.mlp[0].weight.T) + self.mlp[0].bias
            return x + self.mlp[2](self.mlp[1](inner))

    methods = ("agcam", "attention", "rollout", "gae")
    model = ViT(block=Relative)
    model.load_state_dict(ViT().state_dict(), strict=False)
    for block in model.blocks:
        block.places.data.zero_()
    assert_same(explained(model, methods=methods), explained(ViT(), methods=methods))
