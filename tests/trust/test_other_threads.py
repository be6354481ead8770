"""While one thread explains a model, another may run it, and others may explain it."""

from __future__ import annotations

import threading

import pytest
import torch
from hostile_models import IMAGES, Of, ViT
from torch import nn

import vitcam
from contract.test_contract import METHOD_NAMES, state_of


def race(model, methods, wanted):
    """Bare forwards of one thread, while this one explains: how many there were, how many wrong, wrong maps."""
    other = IMAGES.flip(0)
    with torch.no_grad():
        expected = model(other)
    alone = {method: vitcam.explain(model, IMAGES, method, targets=1).heatmaps for method in methods}
    stop, results, errors = threading.Event(), [], []

    def serve():
        while not stop.is_set():
            try:
                with torch.no_grad():
                    results.append(bool((model(other) - expected).abs().max() > 1e-4))
            except Exception as error:  # a failure of the test, told by the thread that waits
                errors.append(repr(error))

    thread = threading.Thread(target=serve)
    thread.start()
    wrong = 0
    try:
        while len(results) < wanted and not errors:
            for method in methods:
                again = vitcam.explain(model, IMAGES, method, targets=1).heatmaps
                wrong += bool((again - alone[method]).abs().max() > 1e-3 * alone[method].abs().max())
    finally:
        stop.set()
        thread.join()
    assert errors == []
    return len(results), sum(results), wrong


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_forwards_in_another_thread_are_the_models_own(method):
    model = ViT()
    before = state_of(model)
    forwards, wrong, maps = race(model, [method], 60)
    assert (forwards >= 60, wrong, maps) == (True, 0, 0)
    assert state_of(model) == before


@pytest.mark.slow
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_thousand_forwards_in_another_thread(method):
    forwards, wrong, maps = race(ViT(), [method], 1000)
    assert (forwards >= 1000, wrong, maps) == (True, 0, 0)


def in_threads(works):
    """Does works at once, and gives what they gave."""
    results, errors = [None] * len(works), []
    start = threading.Barrier(len(works))

    def do(index):
        try:
            start.wait()
            results[index] = works[index]()
        except BaseException as error:  # told by the thread that waits
            errors.append(repr(error))

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return results


def heads_on_one_backbone():
    backbone = ViT()
    return [Of(lambda x, net, head: head(net(x)), backbone, nn.Linear(5, 3)) for _ in range(8)]


def compiled():
    torch._dynamo.reset()
    return [torch.compile(ViT(), backend="eager")] * 8


MODELS = {
    "one model": lambda: [ViT()] * 8,
    "wrapped anew each time": lambda: [Of(lambda x, net: net(x), net) for net in [ViT()] * 8],
    "heads on one backbone": heads_on_one_backbone,
    "compiled": compiled,
}


@pytest.mark.parametrize("name", MODELS)
def test_eight_threads_at_once(name):
    models = MODELS[name]()
    methods = ["agcam", "legrad", "rollout", "gradcam", "lrp", "gae", "attnlrp", "attention"]
    before = [state_of(getattr(model, "_orig_mod", model)) for model in models]
    with torch.no_grad():
        outputs = [model(IMAGES) for model in models]
    expected = [
        vitcam.explain(model, IMAGES, method, targets=1).heatmaps
        for model, method in zip(models, methods, strict=True)
    ]
    found = in_threads(
        [
            lambda model=model, method=method: [
                vitcam.explain(model, IMAGES, method, targets=1).heatmaps for _ in range(2)
            ]
            for model, method in zip(models, methods, strict=True)
        ]
    )
    for method, maps, wanted in zip(methods, found, expected, strict=True):
        for each in maps:
            assert (each - wanted).abs().max() < 1e-3 * wanted.abs().max(), method
    assert [state_of(getattr(model, "_orig_mod", model)) for model in models] == before
    with torch.no_grad():
        for model, output in zip(models, outputs, strict=True):
            torch.testing.assert_close(model(IMAGES), output)
    assert torch._dynamo.eval_frame._stance.stance == "default"
