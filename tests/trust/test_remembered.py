"""What was measured of a model is forgotten once anything about it says something else."""

from __future__ import annotations

import copy
import enum
import types
from dataclasses import dataclass

import pytest
import torch
from hostile_models import IMAGES, ViT, assert_same, explained
from torch import nn

from vitcam.recording import Inputs
from vitcam.recording.state import Memory, state_of

METHODS = ("agcam", "attention", "rollout", "gae", "gradcam", "lrp")


class Pool(enum.Enum):
    CLASS, MEAN = 0, 1


@dataclass
class Options:
    pool: str = "class"


class Told(ViT):
    """Reads the class token or the mean patch, as something that it holds says."""

    of_class = "class"

    def __init__(self, said):
        super().__init__()
        self.said = said

    def pool(self):
        said = self.said
        if said is None:
            return type(self).of_class
        if isinstance(said, dict | list):
            said = said["head"] if isinstance(said, dict) else said[0]
        if isinstance(said, dict):
            said = said["pool"]
        said = getattr(said, "pool", said)
        return "mean" if said in ("mean", Pool.MEAN) else "class"

    def read(self, x):
        return super().read(x) if self.pool() == "class" else self.head(self.norm(x)[:, 1:].mean(1))


def written(holder, name, value):
    return lambda model: setattr(holder(model), name, value)


CHANGES = {
    "a name of an object": (types.SimpleNamespace(pool="class"), written(lambda m: m.said, "pool", "mean")),
    "a dataclass": (Options(), written(lambda m: m.said, "pool", "mean")),
    "a member of an enumeration": (Pool.CLASS, written(lambda m: m, "said", Pool.MEAN)),
    "a dictionary": ({"head": "class"}, lambda m: m.said.update(head="mean")),
    "a dictionary in a list": ([{"pool": "class"}], lambda m: m.said[0].update(pool="mean")),
    "an attribute of the class": (None, written(type, "of_class", "mean")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_says_which_tokens_are_read(name, monkeypatch):
    monkeypatch.setattr(Told, "of_class", "class")
    said, change = CHANGES[name]
    model = Told(copy.deepcopy(said))
    explained(model, methods=("agcam", "gradcam"))
    change(model)
    assert model.pool() == "mean"
    fresh = copy.deepcopy(model)
    assert_same(explained(model, methods=METHODS), explained(fresh, methods=METHODS))


class Ordered(ViT):
    """The patches in an order that a buffer, or a plain tensor, holds."""

    def tokens(self, images):
        x = super().tokens(images)
        return torch.cat([x[:, :1], x[:, 1:][:, self.order]], 1)


@pytest.mark.parametrize("buffer", [True, False])
def test_the_order_of_tokens(buffer):
    model, expected = Ordered(), explained(ViT(), methods=METHODS)
    for seed in range(4):  # freed memory is used again: what was there says nothing
        order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
        if buffer:
            model.register_buffer("order", order)
        else:
            model.order = order
        assert_same(explained(model, methods=METHODS), expected)
    model.order.copy_(torch.arange(16))
    assert_same(explained(model, methods=METHODS), expected)


def test_what_a_function_holds_on_to():
    def reading(token):
        return lambda x: x[:, token]

    model = ViT()
    states = []
    for token in range(3):
        model.take = reading(token)
        states.append(state_of(model))
    assert len(set(states)) == 3


def test_what_a_pass_leaves_behind_is_no_change():
    class Keeping(ViT):
        def through(self, x):
            self.kept, self.cache["last"] = super().through(x), x
            return self.kept

    model = Keeping()
    model.cache = {"last": torch.zeros(2)}
    model(IMAGES)
    before = state_of(model)
    model(IMAGES + 1)
    assert state_of(model) == before


def test_a_large_world_around_a_model_is_not_gone_through():
    model = nn.Linear(2, 2)
    model.trainer = types.SimpleNamespace(files=[f"{number}.png" for number in range(100_000)])
    model.trainer.model = [model, model.trainer]  # what holds itself
    assert state_of(model) == state_of(model)
    before = state_of(model)
    model.trainer.files.append("one more.png")
    assert state_of(model) != before


def test_the_oldest_is_forgotten_and_no_other():
    memory, model, inputs = Memory(), nn.Linear(2, 2), Inputs()
    images = [torch.zeros(1, 3, 1, width) for width in range(40)]
    for width, image in enumerate(images):
        assert memory.of(model, image, inputs).value is None
        memory.of(model, image, inputs).keep(width)
    assert [memory.of(model, image, inputs).value for image in images] == [None] * 8 + list(range(8, 40))


def test_each_kind_of_images_settings_and_state_is_remembered_apart():
    memory, model, inputs = Memory(), nn.Linear(2, 2), Inputs()
    image = torch.zeros(1, 3, 4, 4)
    memory.of(model, image, inputs, "setting").keep("known")
    assert memory.of(model, torch.ones(8, 3, 4, 4), inputs, "setting").value == "known"
    assert memory.of(model, image, inputs).value is None
    assert memory.of(model, image.double(), inputs, "setting").value is None
    assert memory.of(model, image, Inputs(shared={"scale": 2}), "setting").value is None
    assert memory.of(nn.Linear(2, 2), image, inputs, "setting").value is None
    model.pooling = "mean"
    assert memory.of(model, image, inputs, "setting").value is None
