"""What ``inspect`` says about a model is what the model is."""

from __future__ import annotations

import pytest
import timm
import torch
from random_vits import RandomViT, draw, searched_order
from torch import nn
from typer.testing import CliRunner

import vitcam
from families import images_of, model_of
from small_models import HomemadeViT, perturbed
from vitcam.cli.program import program
from vitcam.errors import MethodError, ModelError


def test_a_plain_vit():
    found = vitcam.inspect(perturbed(HomemadeViT(), 0.1), torch.randn(3, 3, 32, 24))
    assert (found.model, found.image_size, found.obstacle) == ("HomemadeViT", (32, 24), "")
    assert found.tokens_of_patches.tolist() == torch.arange(1, 13).unflatten(0, (4, 3)).tolist()
    assert (found.others, found.reads, found.classes, found.replays) == ((0,), ("token 0",), 5, True)
    assert [call.name for call in found.layers] == ["blocks.0", "blocks.1", "blocks.2"]
    assert not any(found.methods.values())
    assert str(found).splitlines() == [
        "HomemadeViT on images of 32×24",
        "  patches      4×3, tokens 1 to 12, row by row; they cover the whole image",
        "  other tokens 0",
        "  layers       3: blocks.0, blocks.1, blocks.2",
        "  blocks       blocks.0, blocks.1, blocks.2",
        "  head reads   token 0",
        "  output       5 logits",
        "  replays      yes, on its tokens of no patch",
        "  methods      all",
    ]


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_random_structures(seed):
    drawn = draw(seed)
    model = RandomViT(drawn).eval()
    found = vitcam.inspect(model, torch.randn(1, 3, *drawn.size, generator=torch.Generator().manual_seed(1)))
    if drawn.patch == drawn.stride:
        order = searched_order(model, torch.zeros(1, 3, *drawn.size))
        assert found.tokens_of_patches.flatten().tolist() == order
    assert list(found.others) == [token for token, place in enumerate(drawn.order) if place < 0]
    if drawn.head == "token":
        assert found.reads == (f"token {drawn.order.index(-1)}",)
    else:
        everything = -1 not in drawn.order
        assert found.reads == (f"all {len(drawn.order)} tokens",), everything


def test_heads_that_average_or_pool():
    images = torch.randn(1, 3, 32, 32)
    assert vitcam.inspect(perturbed(HomemadeViT(pool="mean"), 0.1), images).reads == ("all 16 patches",)
    found = vitcam.inspect(model_of("timm siglip"), images_of("timm siglip"))
    assert found.reads == ("the tokens through an attention of its own",)
    assert "attn_pool (pools)" in str(found)
    assert found.replays is False


class Twice(nn.Module):
    """Sees an image, its mirror image, and a text that is always the same."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.text = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images):
        words = torch.ones(len(images), 4, 8)
        text = self.text(words, words, words, need_weights=False)[0].mean(dim=(1, 2))
        return self.inner(images) + self.inner(images.flip(-1)) + text[:, None]


def test_streams_and_calls_that_are_no_layers():
    found = vitcam.inspect(Twice(perturbed(HomemadeViT(), 0.1)).eval(), torch.randn(1, 3, 32, 32))
    assert len(found.layout.streams) == len(found.reads) == 2
    text = str(found)
    assert "patches of stream 2 4×4, in an order of their own: 4, 3, 2, 1, 8, 7, …" in text
    assert "layers of stream 1  3: inner.blocks.0, inner.blocks.1, inner.blocks.2" in text
    assert "no layers           text: attention over no tokens of the image" in text
    assert found.methods["gradcam"] == "it has 2 streams of tokens of the image"
    assert found.methods["agcam"] == ""
    assert "gradcam" not in text


def test_no_plain_vit_is_shown_too():
    model = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=3).eval()
    images = torch.randn(1, 3, 224, 224)
    found = vitcam.inspect(model, images)
    why = "its attention layers see different numbers of tokens (3136, 784, 196, 49)"
    assert found.obstacle.startswith(why)
    assert found.methods["agcam"] == found.obstacle
    assert found.methods["attnlrp"] == ""
    assert why in " ".join(str(found).split())
    with pytest.raises(MethodError, match=r"vitcam\.inspect\(model, images\) shows what was found"):
        vitcam.explain(model, images, "agcam")
    with pytest.raises(MethodError, match=r"vitcam\.inspect\(model, images\) shows what was found"):
        vitcam.attention_heads(model, images)


def test_backbones_and_what_is_given():
    backbone = perturbed(HomemadeViT(head=nn.LayerNorm(24)), 0.1)
    found = vitcam.inspect(backbone, torch.randn(1, 3, 32, 32))
    assert found.classes is None
    assert "no logits of classes were recognised" in str(found)
    with pytest.raises(
        ModelError, match=r"Leave grid and prefix out; vitcam\.inspect\(model, images\) shows"
    ):
        vitcam.inspect(backbone, torch.randn(1, 3, 32, 32), grid=(2, 8))
    assert vitcam.inspect(backbone, torch.randn(1, 3, 32, 32), first_block="blocks.0").layout.blocks


class OneByOne(HomemadeViT):
    def forward(self, images):
        assert len(images) == 1
        return super().forward(images)


def test_one_by_one():
    found = vitcam.inspect(perturbed(OneByOne(), 0.1), torch.randn(3, 3, 32, 32))
    assert "batches      takes images one by one" in str(found)


def test_the_command():
    shown = CliRunner().invoke(program, ["models", "embedded:photo", "--inspect"])
    assert shown.exit_code == 0
    assert "patches      12×12, tokens 1 to 144" in shown.output
    assert "62 logits" in shown.output
    failed = CliRunner().invoke(program, ["models", "--inspect"])
    assert failed.exit_code == 2
    assert "ay which model, as in: embedded:photo --inspect" in " ".join(
        failed.stderr.replace("│", " ").split()
    )
    assert "open_clip:" in CliRunner().invoke(program, ["models"]).output
