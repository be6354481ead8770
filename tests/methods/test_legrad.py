"""LeGrad: whole maps by hand, parity with torchcam, and where it isn't defined."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

import vitcam
from contract import oracle
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError, ModelError
from vitcam.recording import gradients

# The heads, by hand: from the tokens that leave a block to logits.
HEADS = {
    "timm vit": lambda model, tokens: model.head(model.norm(tokens)[:, 0]),
    "timm gap": lambda model, tokens: model.head(model.fc_norm(model.norm(tokens).mean(1))),
    "timm siglip": lambda model, tokens: model.head(model.fc_norm(model.attn_pool(model.norm(tokens)))),
    "torchvision vit": lambda model, tokens: model.heads(model.encoder.ln(tokens)[:, 0]),
    "hf vit": lambda model, tokens: model.classifier(model.vit.layernorm(tokens)[:, 0]),
    "hf dinov2": lambda model, tokens: model.classifier(
        torch.cat([(t := model.dinov2.layernorm(tokens))[:, 0], t[:, 1:].mean(1)], dim=1)
    ),
    "timm cait": lambda model, tokens: model.head(model.norm(tokens)[:, 0]),
    "open_clip": lambda model, tokens: model.ln_post(tokens)[:, 0] @ model.proj,
}
BLOCKS = {
    "torchvision vit": "encoder.layers.encoder_layer_{}",
    "hf vit": "vit.layers.{}",
    "hf dinov2": "dinov2.encoder.layer.{}",
    "timm cait": "blocks_token_only.{}",
    "open_clip": "transformer.resblocks.{}",
}


def pattern_of_blocks(name, model):
    if name == "hf vit" and hasattr(model.vit, "encoder"):  # the first releases of transformers 5
        return "vit.encoder.layer.{}"
    return BLOCKS.get(name, "blocks.{}")


def mean_token(tokens):
    return tokens.mean(dim=1, keepdim=True).expand_as(tokens)


@pytest.mark.parametrize("pooling", ["mean", "head"])
@pytest.mark.parametrize("name", HEADS)
def test_equals_oracle(name, pooling):
    family, model, images = FAMILIES[name], copy.deepcopy(model_of(name)).eval(), images_of(name, 2)
    depth = family.layers - family.pooling_layers
    pools = family.pooling_layers > 0
    change = mean_token if pooling == "mean" and not pools else lambda tokens: tokens
    for target in (1, 3):
        expected = oracle.legrad(
            model,
            images,
            [pattern_of_blocks(name, model).format(i) for i in range(depth)],
            range(depth),
            lambda tokens, t=target: HEADS[name](model, change(tokens))[:, t],
            family.grid.patches,
            pools,
        )
        ours = vitcam.explain(model, images, "legrad", targets=[[0, target]] * 2, pooling=pooling)
        scale = expected.max().item()
        torch.testing.assert_close(
            ours.heatmaps[:, 1].flatten(1) / scale, expected / scale, atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("layers", ["all", "last:2", [0]])
@pytest.mark.parametrize("name", ["torchvision vit", "torchvision vit, 12 layers"])
def test_equals_torchcam(name, layers):
    """torchcam reads torchvision's models only, and takes the mean over layers."""
    methods = pytest.importorskip("torchcam.methods", reason="the reference, pip torchcam, isn't installed")
    model, images = copy.deepcopy(model_of(name)).eval(), images_of(name, 2)
    blocks = list(model.encoder.layers)
    chosen = (
        {"all": blocks, "last:2": blocks[-2:]}.get(layers, blocks[:1])
        if isinstance(layers, str)
        else blocks[:1]
    )
    with methods.LeGrad(model, chosen) as extractor:
        model(images)
        (expected,) = extractor([4, 2], normalized=False)
    ours = vitcam.explain(model, images, "legrad", targets=[4, 2], layers=layers).heatmaps[:, 0]
    torch.testing.assert_close(ours / ours.max(), expected * len(chosen) / ours.max(), atol=1e-4, rtol=0)


def test_head_pooling_equals_torchcam_with_the_models_own_head():
    methods = pytest.importorskip("torchcam.methods", reason="the reference, pip torchcam, isn't installed")
    model, images = copy.deepcopy(model_of("torchvision vit")).eval(), images_of("torchvision vit", 2)
    with methods.LeGrad(
        model,
        list(model.encoder.layers),
        score_projection=lambda tokens: HEADS["torchvision vit"](model, tokens),
    ) as extractor:
        model(images)
        (expected,) = extractor([4, 2], normalized=False)
    ours = vitcam.explain(model, images, "legrad(pooling='head')", targets=[4, 2]).heatmaps[:, 0]
    torch.testing.assert_close(ours / ours.max(), expected * 3 / ours.max(), atol=1e-4, rtol=0)


class ReadsTwoBlocks(nn.Module):
    """A head that reads what two blocks return."""

    def __init__(self):
        super().__init__()
        self.vit = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=64, num_classes=7)

    def forward(self, x):
        tokens = self.vit._pos_embed(self.vit.patch_embed(x))
        first = self.vit.blocks[0](tokens)
        return self.vit.forward_head(self.vit.norm(self.vit.blocks[1](first) - 2 * first))


def test_head_that_reads_more_than_the_last_block():
    with pytest.raises(MethodError, match=r"legrad isn't defined for ReadsTwoBlocks: .*gae and gradsam work"):
        vitcam.explain(ReadsTwoBlocks(), torch.randn(1, 3, 64, 64), "legrad")


@pytest.mark.parametrize("method", ["legrad", "gradcam", "gae"])
def test_score_that_does_not_depend_on_attention(method):
    with pytest.raises(ModelError, match="gradient of the score that `targets` computes is exactly zero"):
        vitcam.explain(
            model_of("timm vit"), images_of("timm vit", 1), method, targets=lambda logits: logits[:, 0] * 0.0
        )


def test_forward_of_an_instance_is_put_back():
    """Libraries such as accelerate put a forward of their own on modules."""
    model, images = copy.deepcopy(model_of("torchvision vit")), images_of("torchvision vit", 1)
    expected = vitcam.explain(model, images, "legrad").heatmaps
    block = model.encoder.layers[1]
    own = block.forward
    block.forward = lambda *args: own(*args)
    put = block.forward
    torch.testing.assert_close(vitcam.explain(model, images, "legrad").heatmaps, expected)
    assert block.__dict__["forward"] is put
    assert "forward" not in model.encoder.layers[0].__dict__


def test_blocks_are_put_back_after_an_error():
    model, images = copy.deepcopy(model_of("torchvision vit")), images_of("torchvision vit", 1)
    calls = []

    def fail_second_time(module, args):
        calls.append(module)
        if len(calls) == 2:
            raise RuntimeError("boom")

    armed = False
    model.heads.register_forward_pre_hook(
        lambda module, args: fail_second_time(module, args) if armed else None
    )
    vitcam.explain(model, images, "legrad")  # a model with another hook is looked at anew
    armed = True
    with pytest.raises(RuntimeError, match="boom"):
        vitcam.explain(model, images, "legrad")
    assert len(calls) == 2  # the second is a pass of the head alone
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert not model.encoder.layers[0]._forward_hooks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "legrad has no pooling='max'; choose one of 'mean', 'head'"),
        ({"layers": "last:9"}, "legrad can't use layers='last:9'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model_of("timm vit"), images_of("timm vit", 1), "legrad", **options)


def test_goes_back_through_the_chosen_layers_only(monkeypatch):
    calls = []
    backward = gradients.backward
    monkeypatch.setattr(gradients, "backward", lambda *args, **kw: calls.append(1) or backward(*args, **kw))
    model, images = model_of("timm vit"), images_of("timm vit", 2)
    vitcam.explain(model, images, "legrad", layers="last:2")
    assert len(calls) == 2
    vitcam.compare(model, images, ["legrad", "legrad(layers='last:2')"])
    assert len(calls) == 2 + FAMILIES["timm vit"].layers
