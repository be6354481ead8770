"""AGCAM taken apart: each option against whole attention maps and a plain backward pass."""

from __future__ import annotations

import pytest
import torch

import vitcam
from contract import oracle
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError
from vitcam.methods import METHODS, find_method
from vitcam.methods.options import chosen_layers
from vitcam.recording import Need

CASES = {
    "softmax": ({"normalization": "softmax"}, {"normalize": lambda scores: scores.softmax(-1)}),
    "no normalization": ({"normalization": "none"}, {"normalize": lambda scores: scores}),
    "through attention": ({"skip_path": False}, {"detach": False}),
    "negative too": ({"positive": False}, {"positive": False}),
    "last two layers": ({"layers": "last:2"}, {"layers": slice(-2, None)}),
    "first layer": ({"layers": "first:1"}, {"layers": slice(0, 1)}),
    "layer list": ({"layers": [-2]}, {"layers": slice(-2, -1)}),
    "all at once": (
        {"normalization": "softmax", "skip_path": False, "positive": False, "layers": "last:1"},
        {
            "normalize": lambda scores: scores.softmax(-1),
            "detach": False,
            "positive": False,
            "layers": slice(-1, None),
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["timm vit", "torchvision vit", "timm gap", "timm siglip"])
def test_option_equals_oracle(name, case):
    options, by_hand = CASES[case]
    family, model, images = FAMILIES[name], model_of(name).eval(), images_of(name, 2)
    block_layers = family.layers - family.pooling_layers
    ours = vitcam.explain(model, images, "agcam", targets=[[1, 3], [0, 2]], **options)
    expected = oracle.agcam(
        model, images, lambda logits: logits[[0, 1], [3, 2]], block_layers, family.grid.patches, **by_hand
    )
    scale = expected.abs().max()
    torch.testing.assert_close(ours.heatmaps[:, 1].flatten(1) / scale, expected / scale, atol=1e-4, rtol=0)


def test_the_options_are_in_the_name():
    e = vitcam.explain(
        model_of("timm vit"), images_of("timm vit", 1), "agcam(normalization='softmax')", layers="last:3"
    )
    assert e.method == "agcam(normalization='softmax', layers='last:3')"


@pytest.mark.parametrize(("skip_path", "need"), [(True, Need.SKIP_GRADIENT), (False, Need.GRADIENT)])
def test_only_the_gradient_that_is_used_is_asked_for(skip_path, need):
    method, options = find_method("agcam", {"skip_path": skip_path})
    assert method.needs(options) is need


def test_defaults_are_the_paper():
    assert METHODS["agcam"].options == {
        "normalization": "sigmoid",
        "skip_path": True,
        "positive": True,
        "layers": "all",
        "rules": "plain",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"normalization": "relu"},
            "agcam has no normalization='relu'; choose one of 'sigmoid', 'softmax', 'none'",
        ),
        ({"skip_path": "no"}, "agcam takes True or False as skip_path, such as True; not 'no'"),
        ({"positive": 1}, "agcam takes True or False as positive"),
        (
            {"layers": "last:5"},
            r"layers='last:5'; give 'all', 'last:K' or 'first:K' with K from 1 to 4, 'last:half', or a list of "
            "layers from 0 to 3",
        ),
        ({"layers": "last:0"}, "can't use layers='last:0'"),
        ({"layers": "middle"}, "can't use layers='middle'"),
        ({"layers": [4]}, r"can't use layers=\[4\]"),
        ({"layers": [True]}, r"can't use layers=\[True\]"),
        ({"layers": []}, r"can't use layers=\[\]"),
        ({"layers": 3}, "agcam takes a string or a list as layers"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model_of("timm vit"), images_of("timm vit", 1), "agcam", **options)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", [0, 1, 2, 3]),
        ("last:2", [2, 3]),
        ("first:3", [0, 1, 2]),
        ("last:4", [0, 1, 2, 3]),
        ("last:half", [2, 3]),
        ([3, 0], [0, 3]),
        ((-1, 3, 1), [1, 3]),
    ],
)
def test_chosen_layers(layers, expected):
    assert chosen_layers("any", layers, 4) == expected
