"""What methods that run a model again promise on every model family: with as few passes as will do."""

from __future__ import annotations

import warnings

import pytest

import vitcam
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError

MANY_PASSES = {"occlusion", "rise", "scorecam", "shapley", "tis", "reciprocam", "tam", "bt"}
# What a layer passes on: not many passes, but here they share those that there are.
PASSED_ON = ["tokentm", "maskclip", "bt(kind='tokens', steps=2)"]
ANYWHERE = ["occlusion(size=3, stride=3)", "rise(budget=2, cells=2)", "scorecam(budget=2)"]
HIDING = ["shapley(budget=14, cells=2, by='attention')"]
DROPPING = ["tis(budget=4)", "rise(budget=4, cells=2, by='tokens')"]
SAMPLING = ("rise", "scorecam", "shapley", "tis")
RESUMING = ["reciprocam"]
SCALED = ["tam(steps=2)", "bt(start_layer=1, steps=2)"]
# Relative positions are for all tokens; in CaiT, tokens mix in an attention that isn't seen.
WITHOUT = {
    "timm beit": (DROPPING, "fails with 19 of its 37 tokens"),
    "hf beit": (DROPPING, "fails with 9 of its 17 tokens"),
    "timm cait": (HIDING + DROPPING + RESUMING + PASSED_ON, "all of its tokens|all tokens"),
}


def methods_of(name):
    """All of them where a pass is cheap; else those that ask most of a model."""
    family = FAMILIES[name]
    if family.size == 224 or family.layers == 12:
        return [DROPPING[0], "rise(budget=2, cells=2)", "grad-eclip"]
    if family.size > 64:
        return [DROPPING[0], *SCALED, "rise(budget=2, cells=2)", *RESUMING, "grad-eclip", *PASSED_ON[:1]]
    if not family.grid.prefix:  # nothing is left where all patches are hidden
        return [
            *ANYWHERE,
            *SCALED,
            "shapley(budget=14, cells=2)",
            *DROPPING,
            *RESUMING,
            *PASSED_ON,
            "grad-eclip",
        ]
    return [*ANYWHERE, *SCALED, *HIDING, *DROPPING, *RESUMING, *PASSED_ON, "grad-eclip"]


@pytest.mark.parametrize("name", FAMILIES)
def test_maps(name):
    """The right grid, finite, a map per class; an image's map doesn't depend on the batch."""
    family, model, images = FAMILIES[name], model_of(name), images_of(name, 2)
    refused = WITHOUT.get(name, ((), ""))[0]
    methods = [method for method in methods_of(name) if method not in refused]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so few samples are too few
        both = vitcam.compare(model, images, methods, targets=family.target or [[1, 4], [0, 3]])
        alone = vitcam.compare(model, images[1:], methods, targets=family.target or [[0, 3]])
    for method, e in both.items():
        assert e.heatmaps.shape == (2, 2, family.grid.height, family.grid.width), method
        for values in (e.heatmaps, e.errors):
            assert values is None or values.isfinite().all(), method
        assert (e.errors is None) == (not method.startswith(SAMPLING)), method
        assert (e.heatmaps.flatten(2).std(dim=2) > 0).any(), method
        one, other = e.heatmaps[:, 0], e.heatmaps[:, 1]
        assert ((one - other).abs().amax((1, 2)) > 1e-4 * one.abs().amax((1, 2))).all(), method
        single = alone[next(each for each in alone if each == method)]
        scale = e.heatmaps[1].abs().max()
        assert (single.heatmaps[0] - e.heatmaps[1]).abs().max() < 1e-4 * scale, method


@pytest.mark.parametrize("name", WITHOUT)
def test_models_that_need_all_tokens_say_so(name):
    methods, why = WITHOUT[name]
    for method in methods:
        with pytest.raises(MethodError, match=why):
            vitcam.explain(model_of(name), images_of(name, 1), method, targets=1)
