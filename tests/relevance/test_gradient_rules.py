"""Gradients by rules: against autograd with the rules written out, complete, and refused where they don't fit."""

from __future__ import annotations

import contextlib
import random

import pytest
import timm
import torch
from libra_oracle import naive
from relevance_models import FAMILIES, logits_of, propagated, random_images
from torch import Tensor, nn

import vitcam
from small_models import HomemadeViT, perturbed
from vitcam.errors import MethodError, ModelError
from vitcam.methods import find_method
from vitcam.methods.gradient_rules import needs_without_rules, recordings
from vitcam.methods.relevance.libra import LIBRA
from vitcam.recording import Need, Recording, Score, record

RULES = ("plain", "libra", "cp-lrp")
METHODS = {
    "ixg 0": "ixg(rules={})",
    "ixg 1": "ixg(layer=1,rules={})",
    "fullgrad": "fullgrad(rules={})",
    "fullgrad of the first": "fullgrad(every_block=False,rules={})",
    "gae": "gae(rules={})",
    "gradsam": "gradsam(rules={})",
    "gradcam": "gradcam(rules={})",
    "finercam": "finercam(rules={})",
    "eigengradcam": "eigengradcam(rules={})",
    "agcam": "agcam(rules={})",
    "tempercam": "tempercam(rules={})",
    "grad-eclip": "grad-eclip(rules={})",
    "legrad": "legrad(rules={})",
    "legrad of the head": "legrad(pooling='head',rules={})",
    "tokentm": "tokentm(rules={})",
}


def homemade(**options) -> nn.Module:
    return perturbed(HomemadeViT(**options), matrices=0.1, vectors=0.3).double()


def images_of(count: int = 3, size: int = 32) -> Tensor:
    return random_images(count, size)


def recorded(model: nn.Module, images: Tensor, method: str, target=3) -> Recording:
    chosen = find_method(method)
    score = Score(function=target) if callable(target) else Score(lambda y: torch.full((len(y), 1), target))
    needs = needs_without_rules([chosen])
    (found,) = recordings([chosen], record(model, images, score, needs))
    return found


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((found - expected).abs().max() < tolerance * expected.abs().max())


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("rules", RULES)
def test_every_method_equals_the_rules_written_out(rules, pool):
    model, images = homemade(pool=pool), images_of().double()
    expected = naive(model, images, 3, rules)
    names = {key: name.format(repr(rules)) for key, name in METHODS.items()}
    found = vitcam.compare(model, images, list(names.values()), targets=3)
    for (key, _), e in zip(names.items(), found.values(), strict=True):
        assert close(e.heatmaps[:, 0].flatten(1), expected[key][:, 1:]), key


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_libra_is_complete_with_biases_and_others_are_not(pool):
    model, images = homemade(pool=pool), images_of().double()
    for rules in RULES:
        by_hand = naive(model, images, 3, rules)
        found = recorded(model, images, f"fullgrad(rules={rules!r})").token_gradients
        total = (found.products[0] + found.biases)[:, 0].sum(1) + by_hand["rest"]
        assert close(total, by_hand["score"], 1e-5) == (rules == "libra")


def without_biases(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2] in ("bias", "q_bias", "v_bias", "in_proj_bias"):
            nn.init.zeros_(parameter)
    return model


# The others are made of the same functions.
KINDS = sorted({*FAMILIES} - {"timm_vit", "timm_average", "timm_deit", "hugging_face_vit"})


@pytest.mark.parametrize("family", KINDS)
def test_input_times_gradient_is_the_logit_where_there_are_no_biases(family):
    model, images = without_biases(FAMILIES[family]()), random_images()
    target = (lambda output: logits_of(output)[:, 3]) if family == "hugging_face_clip" else 3
    found = recorded(model, images, "ixg(rules='libra')", target).token_gradients.products
    with torch.no_grad():
        expected = logits_of(model(images))[:, 3]
    for place in found:
        assert close(place[:, 0].sum(1), expected)


@pytest.mark.parametrize("family", ["timm_siglip", "timm_swiglu_rms"])
def test_a_batch_equals_its_images(family):
    """Right shape, finite, a map per class; the model as it was; a batch equals its images one by one."""
    model, images = FAMILIES[family](), random_images(8)
    weights = [p.clone() for p in model.parameters()]
    by_rules = ("ixg", "fullgrad", "gae", "gradcam", "finercam", "agcam", "legrad", "grad-eclip", "tokentm")
    names = ["ixg", "fullgrad"] + [f"{name}(rules='libra')" for name in by_rules]
    targets = [[2, 3]] * 8
    together = vitcam.compare(model, images, names, targets=targets)
    single = vitcam.compare(model, images[5:6], names, targets=targets[:1])
    assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), weights, strict=True))
    assert not any(module.training for module in model.modules())
    for name, e in together.items():
        assert e.heatmaps.shape == (8, 2, 4, 4)
        assert e.heatmaps.isfinite().all()
        assert not torch.allclose(e.heatmaps[:, 0], e.heatmaps[:, 1], rtol=1e-3)
        assert close(single[name].heatmaps, e.heatmaps[5:6]), name


@pytest.mark.parametrize("seed", range(4))
def test_rules_change_nothing_where_there_is_nothing_that_they_hold_constant(seed):
    """Random architectures without norms, with gates that are constant anyway, and no way back through attention."""
    draw = random.Random(seed)
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=64,
        patch_size=16,
        num_classes=5,
        norm_layer=nn.Identity,
        act_layer=nn.ReLU,
        embed_dim=24,
        depth=draw.choice((2, 3)),
        num_heads=draw.choice((2, 3)),
        class_token=(classed := draw.random() < 0.5),
        global_pool=draw.choice(("token", "avg")) if classed else "avg",
        reg_tokens=draw.choice((0, 3)),
        init_values=draw.choice((None, 0.3)),
        qkv_bias=draw.random() < 0.5,
    )
    model, images = perturbed(model), random_images(2)
    names = ("agcam", "tempercam", "legrad", "legrad(pooling='head',{})", "grad-eclip")
    for name in names:
        plain, *others = (
            (name if "{}" in name else f"{name}({{}})").format(f"rules={rules!r}") for rules in RULES
        )
        expected = vitcam.explain(model, images, plain, targets=3).heatmaps
        for other in others:
            assert close(vitcam.explain(model, images, other, targets=3).heatmaps, expected), other


def test_methods_with_the_same_rules_share_a_pass():
    model, images, calls = homemade(), images_of().double(), []
    model.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    vitcam.explain(model, images, "gradcam")
    calls.clear()
    libra = [
        f"{name}(rules='libra')" for name in ("gae", "gradsam", "gradcam", "ixg", "fullgrad", "finercam")
    ]
    vitcam.compare(model, images, ["gae", "ixg", *libra])
    assert calls == [3, 3]
    calls.clear()
    vitcam.compare(model, images, [*libra, "ixg(rules='cp-lrp')"])
    assert calls == [3, 3, 3]


class Fronted(HomemadeViT):
    """Something with biases between the patch embedding and the first block, as CLIP's norm there; and what comes of
    the patch embedding, or enters the first block, may come once more behind it."""

    def __init__(self, again: str):
        super().__init__()
        self.front = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 24), nn.GELU())
        self.gate, self.again = nn.Linear(24, 24), again

    def forward(self, images):
        embedded = self.patches(images).flatten(2).transpose(1, 2)
        x = self.front(embedded)
        if self.again == "gate":
            x = x * self.gate(embedded).sigmoid()
        entered = x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
            if self.again == "skip":
                x = x + 0.5 * entered
            if self.again == "product":
                x = torch.cat([x[:, :1], x[:, 1:] * self.gate(embedded)], dim=1)
        return self.head((x + entered if self.again == "long skip" else x).mean(1))


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("layer", ["patches", "front"])
@pytest.mark.parametrize("again", ["", "gate", "skip", "long skip", "product"])
def test_a_feature_map_in_front_of_the_blocks_changes_nothing_behind_it(again, layer, rules):
    """Where the graph begins decides what counts as constant, and so what comes back where."""
    model = perturbed(Fronted(again), matrices=0.1, vectors=0.3).double()
    images = images_of().double()
    names = (
        f"gradcam(layer={layer!r},rules={{}})",
        "ixg(rules={})",
        "ixg(layer=1,rules={})",
        "fullgrad(rules={})",
        "gradcam(rules={})",
        "gae(rules={})",
    )
    methods = [name.format(repr(rules)) for name in names]
    alone = {}
    for method in methods:
        with contextlib.suppress(ModelError, MethodError):
            alone[method] = vitcam.explain(model, images, method, targets=[[1, 3]] * 3).heatmaps
    assert len(alone) >= 4
    together = vitcam.compare(model, images, list(alone), targets=[[1, 3]] * 3)
    for method, e in zip(alone, together.values(), strict=True):
        assert close(e.heatmaps, alone[method], 1e-6), method


def with_stem(*layers: nn.Module) -> nn.Module:
    model = HomemadeViT()
    model.patches = nn.Sequential(*layers)
    return perturbed(model, matrices=0.1, vectors=0.3)


@pytest.mark.parametrize(
    "method", ["attnlrp", *(f"gradcam(layer='patches.0',rules={rules!r})" for rules in RULES)]
)
def test_a_batch_norm_in_the_stem_of_a_model_in_bf16(method):
    model = with_stem(nn.Conv2d(3, 24, 8, 8), nn.BatchNorm2d(24)).bfloat16()
    images = images_of().bfloat16()
    found = vitcam.explain(model, images, method, targets=3).heatmaps
    assert close(
        found, vitcam.explain(model.float(), images.float(), method, targets=3).heatmaps.to(found.dtype), 0.1
    )


def test_a_stem_that_writes_over_its_values_is_an_error():
    model = with_stem(nn.Conv2d(3, 24, 8, 8), nn.Sigmoid(), nn.ReLU(inplace=True))
    with pytest.raises(ModelError, match="writes over values that its gradient needs"):
        vitcam.compare(model, images_of(), ["gradcam(layer='patches.0')", "ixg"], targets=3)


class Gated(nn.Module):
    """A squeeze-and-excitation block over channels."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(24, 24)

    def forward(self, x):
        return x * self.gate(x.mean(1, keepdim=True)).sigmoid()


class OwnNorm(nn.Module):
    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def of_function(function):
    class Layer(nn.Module):
        def forward(self, x):
            return function(x)

    return Layer()


def with_layer(layer: nn.Module) -> nn.Module:
    model = homemade()
    model.blocks[1].mlp.insert(0, layer.double())
    return model.eval()


@pytest.mark.parametrize(
    "layer", [Gated(), OwnNorm(), nn.BatchNorm1d(17), nn.Sigmoid(), nn.Softplus(), nn.Tanh()], ids=str
)
def test_what_is_written_by_hand_but_can_be_followed_is_complete(layer):
    found = recorded(with_layer(layer), images_of().double(), "fullgrad(rules='libra')")
    assert found.token_gradients.products[0].isfinite().all()


def test_a_norm_written_by_hand_is_the_norm():
    hand, torchs = with_layer(OwnNorm()), with_layer(nn.LayerNorm(24, eps=1e-5))
    found, expected = (
        vitcam.explain(model, images_of().double(), "ixg(rules='libra')", targets=3).heatmaps
        for model in (hand, torchs)
    )
    assert close(found, expected)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x * x.var(-1, keepdim=True), "should add up to its score"),
        (lambda x: x * (x.square().mean(-1, keepdim=True) + 1).pow(-0.5), "it isn't finite at 0"),
        (lambda x: x.softmax(-1), "no rule for a softmax that isn't attention's"),
        (torch.nn.functional.glu, "rules='libra' has no rule for torch's 'glu'"),
        (_Doubled.apply, "can't follow _DoubledBackward"),
    ],
    ids=["variance", "power", "softmax", "glu", "custom"],
)
def test_what_breaks_completeness_is_an_error(function, text):
    layer = of_function(lambda x: torch.cat([function(x)] * 2, -1)[..., :24])
    with pytest.raises((MethodError, ModelError), match=text.replace("(", r"\(")):
        vitcam.explain(with_layer(layer), images_of().double(), "gradcam(rules='libra')")
    assert vitcam.explain(with_layer(layer), images_of().double(), "gradcam").heatmaps.isfinite().all()


def test_attnlrp_without_gammas_is_ixg_through_the_patch_embedding():
    """Where that has no bias and no positions are added: relevance of pixels is value × gradient."""
    model, images = homemade().float(), images_of()
    nn.init.zeros_(model.patches.bias)
    names = ["ixg(rules='libra')", "attnlrp(conv_gamma=0.0,linear_gamma=0.0,through_softmax=False)"]
    one, other = vitcam.compare(model, images, names, targets=3).values()
    assert close(one.heatmaps, other.heatmaps)


def test_lower_precision():
    model, images = homemade().float(), images_of()
    with pytest.raises(
        MethodError, match="gae with rules='libra' computes in float32, also on a model in bf16"
    ):
        vitcam.explain(model, images, "gae(rules='libra')", precision="bf16")
    half, exact = homemade().to(torch.bfloat16), homemade()
    exact.load_state_dict(half.state_dict())
    names = ["ixg(rules='libra')", "fullgrad(rules='libra')", "gae(rules='cp-lrp')"]
    of_half = vitcam.compare(half, images, names, targets=3)
    images = images.to(torch.bfloat16)
    for name, e in vitcam.compare(exact.float(), images.float(), names, targets=3).items():
        assert close(of_half[name].heatmaps, e.heatmaps, 1e-2), name


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("gae(rules='lrp')", "gae has no rules='lrp'; choose one of 'plain', 'libra', 'cp-lrp'"),
        ("ixg(layer=5)", "ixg has no layer=5; this model's are 0, in front of the first block, to 3"),
        ("ixg(layer=-1)", "the score doesn't depend on the patches there"),
        ("ixg(layer=2)", "input × gradient cancels out in each patch"),
    ],
)
def test_options_that_there_are_not(method, text):
    with pytest.raises(MethodError, match=text.replace("(", r"\(")):
        vitcam.explain(homemade(), images_of().double(), method)


def test_a_recording_by_other_rules_is_refused():
    model, images = homemade(), images_of().double()
    method, _ = find_method("gae")
    plain = record(model, images, Score(lambda y: y.argmax(1, keepdim=True)), Need.GRADIENT)
    with pytest.raises(
        MethodError, match="gae with rules='libra' was given a recording by the rules 'plain'"
    ):
        method.compute(plain, rules="libra")
    plain = record(model, images, Score(lambda y: y.argmax(1, keepdim=True)), Need.TOKENS | Need.BIASES)
    with pytest.raises(MethodError, match="fullgrad was given a recording without biases"):
        find_method("fullgrad")[0].compute(plain)


def test_where_tokens_between_blocks_are_not_known():
    """In CaiT, the class token joins the patches behind the blocks, and heads talk."""
    model = timm.create_model(
        "cait_xxs24_224", depth=2, embed_dim=24, num_heads=3, img_size=64, num_classes=5
    )
    model, images = perturbed(model), random_images()
    with pytest.raises(
        MethodError, match="ixg isn't defined for Cait: no blocks, each called once, were found"
    ):
        vitcam.explain(model, images, "ixg(rules='libra')", targets=3)
    assert vitcam.explain(model, images, "gradcam(rules='libra')", targets=3).heatmaps.isfinite().all()


def test_a_model_whose_blocks_are_not_found():
    """Gradients by rules begin at its images."""
    model, images = homemade(), images_of().double()
    expected = vitcam.explain(model, images, "gae(rules='libra')", targets=3).heatmaps
    model.one, model.two, model.three = model.blocks
    del model.blocks

    def forward(x):
        x = model.patches(x).flatten(2).mT
        x = torch.cat([model.class_token.expand(len(x), -1, -1), x], dim=1)
        return model.head(model.three(model.two(model.one(x)))[:, 0])

    model.forward = forward
    assert close(vitcam.explain(model, images, "gae(rules='libra')", targets=3).heatmaps, expected)
    with pytest.raises(MethodError, match="no blocks, each called once, were found"):
        vitcam.explain(model, images, "ixg(rules='libra')", targets=3)


def test_attention_in_windows():
    """Axes of windows are as good as images."""
    q, k, v, message = torch.randn(4, 6, 2, 3, 5).double()
    call = torch.nn.functional.scaled_dot_product_attention
    apart = propagated(lambda x: call(q, k, x, torch.zeros(2, 3, 3).double()), v, message, LIBRA)
    q, k, v, message = (x.view(2, 3, 2, 3, 5) for x in (q, k, v, message))
    together = propagated(lambda x: call(q, k, x, torch.zeros(3, 2, 3, 3).double()), v, message, LIBRA)
    assert torch.equal(together.view_as(apart), apart)


def test_as_many_images_as_tokens():
    with pytest.raises(ModelError, match="where there are 17 of both; choose another batch_size"):
        vitcam.explain(homemade(), images_of(17).double(), "fullgrad")


def test_written_out_attention_gives_what_the_fused_does():
    def steps(q, k, v, dropout):
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v

    one, other = homemade(), homemade(attend=steps)
    names = [f"{name}(rules={rules!r})" for name in ("ixg", "gae", "agcam", "legrad") for rules in RULES[1:]]
    found = [vitcam.compare(model, images_of().double(), names, targets=3) for model in (one, other)]
    for name in names:
        assert close(found[0][name].heatmaps, found[1][name].heatmaps)
    with pytest.raises(MethodError, match="can't be had of a model that computes attention step by step"):
        vitcam.explain(other, images_of().double(), "fullgrad")
