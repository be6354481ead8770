"""What every method promises on every model family."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

import vitcam
from contract import oracle
from contract.test_many_passes import MANY_PASSES, PASSED_ON
from families import (
    CLASS_AND_DISTILLATION,
    CLASS_AND_PATCHES,
    CLASS_TOKEN,
    FAMILIES,
    PATCHES,
    POOLING,
    images_of,
    model_of,
)
from vitcam.errors import ModelError
from vitcam.methods import METHODS, find_method
from vitcam.recording import Need, Score, record

# One of captum's stands for all, and one of those that read a feature map: they meet the models at the same place,
# and many runs of a model make them slow.
OF_FEATURES = [name for name, method in METHODS.items() if method.features and name != "scorecam"]
# Where a channel's activations nearly cancel, these two divide by what rounding leaves of them.
LOOSE = {"xgradcam": 0.03, "gradcam++": 0.03}
METHOD_NAMES = sorted(
    name
    for name in METHODS
    if name in ("captum:Saliency", "gradcam")
    or not (
        name.startswith("captum:") or name in OF_FEATURES or name in {*MANY_PASSES, *PASSED_ON, "grad-eclip"}
    )
)

# Their rules meet every kind of model in tests/relevance/test_gradient_rules.py.
ON_SOME = dict.fromkeys(("ixg", "fullgrad"), ("hf vit eager", "hf siglip vision"))
CASES = [(name, method) for method in METHOD_NAMES for name in ON_SOME.get(method, FAMILIES)]


def targets_of(name):
    """Two targets: class indices, or the family's own function."""
    return FAMILIES[name].target or [[1, 4], [0, 3], [5, 2]]


def head_rows(family):
    """By hand: the share of each token in what the head reads."""
    rows = torch.zeros(family.grid.prefix + family.grid.tokens)
    if family.head == CLASS_TOKEN:
        rows[0] = 1
    elif family.head == CLASS_AND_DISTILLATION:
        rows[:2] = 1
    elif family.head == PATCHES:
        rows[family.grid.patches] = 1
    elif family.head == CLASS_AND_PATCHES:
        rows[0] = 1
        rows[family.grid.patches] = 1
    return rows / rows.sum()


def close(ours, expected, tolerance=1e-4):
    scale = expected.abs().flatten(1).amax(dim=1).clamp_min(1e-12)
    return ((ours - expected).abs().flatten(1).amax(dim=1) / scale).max().item() < tolerance


def by_hand(name):
    """A copy of the model that calls torch's attention function, which the oracle replaces."""
    model = copy.deepcopy(model_of(name)).eval()
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("sdpa")
    return model


def state_of(model):
    """Everything about a model, and about torch, that explaining must leave as it was."""
    switches = [
        (
            module.training,
            getattr(module, "fused_attn", None),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            module.forward.__func__,
        )
        for module in model.modules()
    ]
    configs = [getattr(getattr(m, "config", None), "_attn_implementation", None) for m in model.modules()]
    parameters = [(p.requires_grad, p.grad is None, p.data_ptr()) for p in model.parameters()]
    functions = (F.scaled_dot_product_attention, F.multi_head_attention_forward, F.linear, torch.conv2d)
    return switches, configs, parameters, functions, torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("name", FAMILIES)
def test_layout_is_found(name):
    family = FAMILIES[name]
    score = Score(function=family.target) if family.target else Score(lambda logits: logits.argmax(1, True))
    recording = record(model_of(name), images_of(name), score, Need.SKIP_GRADIENT | Need.MAPS)
    assert recording.layout.grid == family.grid
    assert recording.replayed == family.replays
    assert len(recording.layers) == family.layers
    assert len(recording.layout.pooling) == family.pooling_layers
    assert recording.layout.obstacle == ""
    if family.head != POOLING:
        torch.testing.assert_close(recording.head_rows, head_rows(family))


@pytest.mark.parametrize(("name", "method"), CASES)
def test_maps(name, method):
    """The right grid, finite and not constant; a batch equals its images one by one; the model unchanged."""
    family, model, images = FAMILIES[name], model_of(name), images_of(name)
    before, weights = state_of(model), [p.clone() for p in model.parameters()]
    e = vitcam.explain(model, images, method=method, targets=targets_of(name))
    assert state_of(model) == before
    assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), weights, strict=True))

    assert e.heatmaps.shape == (3, 2, family.grid.height, family.grid.width)
    assert e.heatmaps.dtype == torch.float32
    assert e.heatmaps.isfinite().all()
    varies = e.heatmaps.flatten(2).std(dim=2) > 0
    assert varies.any()
    if method == "gradcam":  # its ReLU leaves nothing of a sum that is negative everywhere
        varies |= (e.heatmaps == 0).flatten(2).all(dim=2)
    assert varies.all()
    assert e.upsampled().shape == (3, 2, family.size, family.size)

    for i in range(len(images)):
        alone = targets_of(name) if family.target else [targets_of(name)[i]]
        single = vitcam.explain(model, images[i : i + 1], method=method, targets=alone)
        assert close(single.heatmaps, e.heatmaps[i : i + 1])


@pytest.mark.parametrize(("name", "method"), [case for case in CASES if METHODS[case[1]].class_specific])
def test_two_targets_give_two_maps(name, method):
    e = vitcam.explain(model_of(name), images_of(name), method=method, targets=targets_of(name))
    one, other = e.heatmaps[:, 0], e.heatmaps[:, 1]
    assert ((one - other).abs().flatten(1).amax(1) > 1e-3 * one.abs().flatten(1).amax(1)).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_agcam_and_tempercam_replay_equals_all_tokens_equals_oracle(name):
    family, model, images = FAMILIES[name], by_hand(name), images_of(name)
    target = family.target or (lambda output: getattr(output, "logits", output)[:, :2])
    method, _ = find_method("agcam")
    replayed = record(model, images, Score(function=target), Need.SKIP_GRADIENT)
    every = record(model, images, Score(function=target), Need.SKIP_GRADIENT, allow_replay=False)
    assert replayed.replayed == family.replays
    assert not every.replayed
    block_layers = family.layers - (family.head == POOLING)
    for index in range(2):
        given = (
            model,
            images,
            lambda output, t=index: target(output)[:, t],
            block_layers,
            family.grid.patches,
        )
        expected = oracle.agcam(*given)
        assert close(method.compute(replayed)[:, index], expected)
        assert close(method.compute(every)[:, index], expected)
        expected = oracle.tempercam(*given)
        assert close(METHODS["tempercam"].compute(replayed)[:, index], expected)
        assert close(METHODS["tempercam"].compute(every)[:, index], expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_rollout_and_attention_equal_oracle(name):
    family, model, images = FAMILIES[name], by_hand(name), images_of(name)
    maps = oracle.attention_maps(model, images)
    start, below = head_rows(family).expand(len(images), -1), maps
    if family.pooling_layers:
        pooled, below = maps[-1].mean(dim=1), maps[:-1]
        start = pooled if family.head == POOLING else start
    shape = (len(images), family.grid.height, family.grid.width)

    expected = oracle.rollout(below, start)[:, family.grid.patches].reshape(shape)
    ours = vitcam.explain(model, images, method="rollout", targets=family.target)
    assert close(ours.heatmaps[:, 0], expected)

    last = maps[-1]
    row = last[:, 0] if last.shape[1] == 1 else (start[:, None] @ last)[:, 0]
    if family.head != POOLING and family.pooling_layers:
        row = (start[:, None] @ below[-1])[:, 0]
    expected = row[:, family.grid.patches].reshape(shape)
    ours = vitcam.explain(model, images, method="attention", targets=family.target)
    assert close(ours.heatmaps[:, 0], expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_methods_equal_oracle(name):
    """gae, gradsam and the CAM family, which share one backward pass; a batch of the family equals its images."""
    family, model, images = FAMILIES[name], by_hand(name), images_of(name)
    target = family.target or (lambda output: getattr(output, "logits", output)[:, :2])
    cams = [
        *(name for name in OF_FEATURES if name not in ("ablationcam", "finercam")),
        "gradcam(smooth='eigen')",
    ]
    ours = vitcam.compare(
        model, images, methods=["gae", "gradsam", "gradsam(rows='head')", *cams], targets=target
    )
    alone = vitcam.compare(model, images[1:2], methods=cams, targets=target)
    for method in cams:
        assert close(alone[method].heatmaps, ours[method].heatmaps[1:2], LOOSE.get(method, 1e-3)), method
    start, pools = head_rows(family), family.head == POOLING
    if pools:
        start[:] = 1 / len(start)
    first_norms = ("norm1", "ln_1", "layernorm_before", "layer_norm1")
    norm = [path for path, _ in model.named_modules() if path.split(".")[-1] in first_norms][-1]
    for index in range(2):

        def score(output, t=index):
            return target(output)[:, t]

        expected = {
            "gae": oracle.gae(model, images, score, start, pools)[:, family.grid.patches],
            "gradsam": oracle.gradsam(model, images, score)[:, family.grid.patches],
            "gradsam(rows='head')": oracle.gradsam_of_the_head(model, images, score, start, pools)[
                :, family.grid.patches
            ],
            **oracle.cams(model, images, score, norm, family.grid.patches),
        }
        assert expected.keys() == ours.keys()
        for method, maps in expected.items():
            tolerance = LOOSE.get(method, 1e-3 if method in cams else 1e-4)
            assert close(ours[method].heatmaps[:, index].flatten(1), maps, tolerance), method


@pytest.mark.parametrize("name", ["timm vit", "torchvision vit", "hf vit eager", "open_clip"])
def test_model_in_training_mode_and_frozen_parts_stay_so(name):
    model = copy.deepcopy(model_of(name)).train()
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    before = state_of(model)
    trained = vitcam.explain(model, images_of(name))
    assert state_of(model) == before
    evaluated = vitcam.explain(model.eval(), images_of(name))
    torch.testing.assert_close(trained.heatmaps, evaluated.heatmaps)


@pytest.mark.parametrize("name", ["timm vit", "torchvision vit", "hf vit eager"])
def test_model_is_restored_after_an_error_in_the_middle(name):
    model = copy.deepcopy(model_of(name)).train()
    vitcam.explain(model, images_of(name))
    calls = []

    def fail(module, args):
        calls.append(module)
        raise RuntimeError("boom")

    last = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)][-1]
    handle = last.register_forward_pre_hook(fail)
    before = state_of(model)
    with pytest.raises(ModelError, match=r"itself failed .* boom"):
        vitcam.explain(model, images_of(name))
    assert calls
    assert state_of(model) == before
    handle.remove()
