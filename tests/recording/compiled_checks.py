"""What must hold of compiled passes. A program of its own: the compiler would trace the tests' type checks too.

Prints as JSON what went wrong with each check; nothing if it holds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch._dynamo.utils import counters

import vitcam
from families import images_of, model_of
from vitcam.errors import ModelError
from vitcam.recording import Need, compiled, record
from vitcam.recording.score import Score

SCORE = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
HAS_COMPILER = shutil.which(os.environ.get("CXX", "g++")) is not None


def graphs():
    return counters["stats"]["unique_graphs"]


def error_of(explain):
    try:
        explain()
    except ModelError as error:
        return str(error)
    raise AssertionError("no error")


def missing_compiler_is_a_clear_error():
    from torch._inductor import config
    from torch._inductor.utils import fresh_cache

    model, images = model_of("timm vit"), images_of("timm vit")
    with fresh_cache(), config.patch({"cpp.cxx": (None, "/nowhere/g++")}):
        error = error_of(lambda: vitcam.explain(model, images, compile=True))
    assert error.startswith(
        "VisionTransformer can't be compiled: InvalidCxxCompiler: No working C++ compiler"
    )
    assert "Leave out compile=True" in error
    assert not any("forward" in vars(module) for module in model.modules())
    assert vitcam.explain(model, images).heatmaps.isfinite().all()


def maps_are_the_same_and_it_compiles_once():
    model, images = model_of("timm vit"), images_of("timm vit")
    methods = ["agcam", "rollout"]
    plain = vitcam.compare(model, images, methods)
    fast = vitcam.compare(model, images, methods, compile=True)
    before = graphs()
    again = vitcam.compare(model, images, methods, compile=True)
    assert graphs() == before
    for name, explanation in plain.items():
        close = {"rtol": 1e-4, "atol": 1e-5 * explanation.heatmaps.max().item()}
        torch.testing.assert_close(fast[name].heatmaps, explanation.heatmaps, **close)
        torch.testing.assert_close(again[name].heatmaps, explanation.heatmaps, **close)


def same_recording(family: str) -> Callable[[], None]:
    def check():
        model, images = model_of(family), images_of(family)
        expected = record(model, images, SCORE, Need.MAPS)
        before = graphs()
        assert_same(record(model, images, SCORE, Need.MAPS, compile=True), expected)
        assert graphs() == before + 1, "equal blocks share one graph, which has no breaks"
        assert not any("forward" in vars(module) for module in model.modules())

    return check


def assert_same(one, other):
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
    torch.testing.assert_close(one.logits, other.logits)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.pooling == b.pooling
        for x, y in ((a.call.query, b.call.query), (a.call.key, b.call.key), (a.value, b.value)):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.output, b.output, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.probabilities(), b.probabilities(), rtol=1e-4, atol=1e-5)


def methods_with_gradients_run_as_ever():
    model, images = model_of("timm vit"), images_of("timm vit")
    before = graphs()
    plain, fast = (vitcam.explain(model, images, "gae", compile=on) for on in (False, True))
    assert torch.equal(plain.heatmaps, fast.heatmaps)
    assert graphs() == before


def threads_compile_models_of_their_own():
    names = ["timm flexivit", "hf deit"]
    models = {name: model_of(name) for name in names}
    expected = {name: vitcam.explain(models[name], images_of(name), "rollout") for name in names}

    def explain(name):
        return vitcam.explain(models[name], images_of(name), "rollout", compile=True)

    with ThreadPoolExecutor(2) as pool:
        for name, explanation in zip(names, pool.map(explain, names), strict=True):
            torch.testing.assert_close(explanation.heatmaps, expected[name].heatmaps)


def forward_of_an_instance_stays_its_own():
    model, images = model_of("timm vit"), images_of("timm vit")
    expected = record(model, images, SCORE, Need.MAPS)
    own = model.blocks[1].forward
    model.blocks[1].forward = own
    assert_same(record(model, images, SCORE, Need.MAPS, compile=True), expected)
    assert vars(model.blocks[1])["forward"] is own


def hidden_attention_is_a_clear_error():
    model, images = model_of("torchvision vit"), images_of("torchvision vit")
    error = error_of(lambda: vitcam.explain(model, images, "rollout", compile=True))
    assert error.startswith("VisionTransformer can't be compiled: of its 3 attention layers 0 are seen")
    assert "MultiheadAttention" in error


WITH_CODE = {
    check.__name__: check
    for check in (missing_compiler_is_a_clear_error, maps_are_the_same_and_it_compiles_once)
}
"""Those that take the whole compiler; the others have the blocks traced, and run what was traced."""

TRACED = {
    **{
        f"same recording of {name}": same_recording(name)
        for name in ("timm deit distilled", "timm siglip", "timm beit", "hf vit")
    },
    **{
        check.__name__: check
        for check in (
            methods_with_gradients_run_as_ever,
            threads_compile_models_of_their_own,
            forward_of_an_instance_stays_its_own,
            hidden_attention_is_a_clear_error,
        )
    },
}


def problem(check):
    try:
        check()
    except Exception:  # whatever is wrong is what the test shows
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {name: problem(check) for name, check in WITH_CODE.items() if HAS_COMPILER}
    compiled.BACKEND = "eager"
    found |= {name: problem(check) for name, check in TRACED.items()}
    json.dump(found, sys.stdout)
