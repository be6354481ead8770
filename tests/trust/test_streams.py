"""Attention calls of several streams of tokens aren't taken for the layers of one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import transformers
from hostile_models import (
    IMAGES,
    METHODS,
    OF_STREAMS,
    WIDTH,
    Block,
    Of,
    ViT,
    assert_same,
    explained,
    refused,
)
from torch import nn

import vitcam
from contract import naive_relevance as naive
from contract import oracle
from vitcam.errors import VitcamError
from vitcam.recording import Need, Score, record

PLAIN = tuple(name for name in METHODS if name not in ("gradcam", "attnlrp"))


def half(net):
    return Of(lambda x, net: net(x) / 2, net)


def sums(*each):
    return {method: sum(maps[method] for maps in each) for method in each[0]}


def flipped(maps):
    return {method: each.flip(-1) for method, each in maps.items()}


ENSEMBLES = {
    "mean": lambda x, a, b: (a(x) + b(x)) / 2,
    "stack": lambda x, a, b: torch.stack([a(x), b(x)]).mean(0),
    "weights": lambda x, a, b: torch.einsum("nbk,n->bk", torch.stack([a(x), b(x)]), torch.full((2,), 0.5)),
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_maps_of_an_ensemble_add_up(name):
    a, b = ViT(0), ViT(1)
    expected = sums(*(explained(half(net), methods=OF_STREAMS) for net in (a, b)))
    assert_same(explained(Of(ENSEMBLES[name], a, b), methods=OF_STREAMS), expected)


@pytest.mark.parametrize("first", [True, False])
def test_a_stream_of_another_output_is_left_out(first):
    a, b = ViT(0), ViT(1)

    def student_and_teacher(x, a, b):
        teacher = None if first else b(x)
        student = a(x)
        return student, b(x) if teacher is None else teacher

    found = explained(Of(student_and_teacher, a, b), methods=OF_STREAMS)
    assert_same(found, explained(a, methods=OF_STREAMS))


@pytest.mark.parametrize("method", ["legrad", "gradcam", "lrp"])
def test_what_is_defined_for_one_stream_only_says_so(method):
    text = explained(Of(ENSEMBLES["mean"], ViT(0), ViT(1)), methods=(method,))
    refused(text, "has 2 streams of tokens of the image")


@pytest.mark.parametrize(
    "turn", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.mT, lambda x: x.rot90(2, (-2, -1))]
)
def test_maps_of_a_turned_image_are_turned_back(turn):
    net = ViT()
    expected = sums(
        explained(half(net), methods=OF_STREAMS),
        {name: turn(each) for name, each in explained(half(net), turn(IMAGES), OF_STREAMS).items()},
    )
    found = explained(Of(lambda x, net: (net(x) + net(turn(x))) / 2, net), methods=OF_STREAMS)
    assert_same(found, expected)


FOLDED = {
    "images and mirror images one after the other": lambda x, net: (
        net(torch.cat([x, x.flip(-1)])).unflatten(0, (2, -1)).mean(0)
    ),
    "each image beside its mirror image": lambda x, net: (
        net(torch.stack([x, x.flip(-1)], 1).flatten(0, 1)).unflatten(0, (-1, 2)).mean(1)
    ),
    "a fixed image in the batch": lambda x, net: net(torch.cat([torch.ones_like(x[:1]), x]))[1:],
    "two crops": lambda x, net: (
        net(F.interpolate(x, scale_factor=1.5)[..., :32, :32])
        + net(F.interpolate(x, scale_factor=1.5)[..., 16:, 16:])
    ),
    "two scales": lambda x, net, other: net(x) + other(F.interpolate(x, scale_factor=2)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_streams_that_cannot_be_told_or_laid_over_one_another_are_refused(name):
    nets = (ViT(), ViT(1, side=8)) if name == "two scales" else (ViT(),)
    found = explained(Of(FOLDED[name], *nets))
    refused({method: found[method] for method in (*PLAIN, "gradcam")}, "isn't defined for", "batch_size=1")


class Twice(Block):
    """Differential attention, and two attentions beside one another in a layer."""

    def attend(self, q, k, v):
        return super().attend(q, k, v) - 0.4 * super().attend(k, q, v)


class TwoBranches(Block):
    def __init__(self):
        super().__init__()
        self.other = Block()

    def forward(self, x):
        return x + self.attention(self.norm1(x)) + self.other.attention(self.norm1(x))


@pytest.mark.parametrize("block", [Twice, TwoBranches])
def test_attentions_beside_one_another_in_a_layer_are_refused(block):
    found = explained(ViT(block=block), methods=PLAIN)
    refused(found, "meet in", "side by side")


class Prompted(Block):
    """Keys and values of the layer's own beside those of the tokens, as prefix tuning adds them."""

    in_front, written_out, count = False, False, 4

    def __init__(self):
        super().__init__()
        self.more = nn.Parameter(torch.randn(2, 1, 3, 4, WIDTH // 3))

    def attend(self, q, k, v):
        pairs = zip((k, v), self.more[:, :, :, : self.count].expand(-1, len(q), -1, -1, -1), strict=True)
        k, v = (torch.cat([m, x] if self.in_front else [x, m], 2) for x, m in pairs)
        if self.written_out:
            return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        return super().attend(q, k, v)


@pytest.mark.parametrize("written_out", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_keys_of_a_layers_own(count, written_out, monkeypatch):
    monkeypatch.setattr(Prompted, "written_out", written_out)
    monkeypatch.setattr(Prompted, "count", count)
    model = ViT(block=Prompted)
    x = model.tokens(IMAGES)
    for block in model.blocks[:-1]:
        x = block(x)
    last = model.blocks[-1]
    q, k, _ = last.qkv(last.norm1(x)).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
    k = torch.cat([k, last.more[0, :, :, :count].expand(2, -1, -1, -1)], 2)
    row = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1).mean(1)[:, 0, 1:17]
    found = vitcam.explain(model, IMAGES, "attention", targets=1).heatmaps
    torch.testing.assert_close(found.flatten(1), row.detach())
    monkeypatch.setattr(Prompted, "in_front", True)
    refused(explained(model, methods=PLAIN), "aren't the first of the", "of its own", "isn't defined for")


def guided_by_a_mask(x, a, b):
    return b(x * (1 + 0.3 * a(x).softmax(-1).amax(-1)[:, None, None, None]))


def guided_by_logits(x, a, b):
    return b.read(b.through(b.tokens(x) + 0.2 * F.pad(a(x), (0, WIDTH - 5))[:, None]))


def class_token_handed_on(x, a, b):
    token = a.through(a.tokens(x))[:, :1]
    return b.read(b.through(torch.cat([token, b.tokens(x)[:, 1:]], dim=1)))


def fed_back(x, a, b):
    tokens = a.through(a.tokens(x))
    return b.read(b.through(b.tokens(x) + tokens[:, 1:].mean(1, keepdim=True)))


@pytest.mark.parametrize("function", [guided_by_a_mask, guided_by_logits, class_token_handed_on, fed_back])
def test_a_network_that_is_told_what_another_says_is_no_more_of_its_layers(function):
    found = explained(Of(function, ViT(0), ViT(1)), methods=PLAIN)
    refused(found, "aren't computed from the same tokens", "aren't those of")


def test_a_network_that_goes_on_with_the_tokens_of_another_is():
    a, b, deep = ViT(0), ViT(1), ViT(0, depth=6)
    for index in range(6):
        deep.blocks[index] = (a, b)[index // 3].blocks[index % 3]
    deep.patches, deep.token, deep.positions, deep.norm, deep.head = (
        a.patches,
        a.token,
        a.positions,
        b.norm,
        b.head,
    )
    found = explained(
        Of(lambda x, a, b: b.read(b.through(a.through(a.tokens(x)))), a, b), methods=(*OF_STREAMS, "gradcam")
    )
    assert_same(found, explained(deep, methods=(*OF_STREAMS, "gradcam")))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_reference_is_no_layer_of_the_image(before, batch):
    net, reference = (
        ViT(),
        torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(8)).expand(batch, -1, -1, -1),
    )

    def compared(x, net):
        given = len(x)
        if before:
            there = net(reference[:1].expand(given, -1, -1, -1))
            return net(x) - there
        return net(x) - net(reference[:1])

    images = IMAGES[:batch]
    methods = (*OF_STREAMS, "gradcam", "attnlrp", "lrp")
    assert_same(explained(Of(compared, net), images, methods), explained(net, images, methods))


class Detector(nn.Module):
    """As many object queries as places."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.transformer = nn.Transformer(WIDTH, 4, 2, 2, 48, batch_first=True)
        self.queries, self.head = nn.Parameter(torch.randn(16, WIDTH)), nn.Linear(WIDTH, 5)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        return self.head(self.transformer(x, self.queries.expand(len(x), -1, -1)))


def test_gae_of_object_queries_as_many_as_places():
    model = Detector().eval()
    e = vitcam.explain(model, IMAGES, "gae", targets=lambda y: y[:, 7, 2])
    for number, image in enumerate(IMAGES):
        layers = oracle.gradients(model, image[None], lambda y: y[0, 7, 2])
        bars = [naive.positive(layer.maps.detach()[0], layer.maps.grad[0]) for layer in layers]
        _, _, across = naive.encoder_decoder(bars[:2], bars[2::2], bars[3::2])
        torch.testing.assert_close(e.heatmaps[number].flatten().double(), across[7], rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("method", [name for name in PLAIN if name != "gae"])
def test_object_queries_as_many_as_places(method):
    with pytest.raises(VitcamError, match=r"isn't defined for Detector: .*(of objects|of its own|queries)"):
        vitcam.explain(Detector().eval(), IMAGES, method, targets=lambda y: y[:, 7, 2])


def two_towers(kind, text, **options):
    """A model of images and text with random weights, and the same function with the text's features fixed."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    names = {"clip": ("CLIPModel", "CLIPConfig"), "siglip": ("SiglipModel", "SiglipConfig")}[kind]
    config = getattr(transformers, names[1])(
        vision_config={**size, "image_size": 64, "patch_size": 8},
        text_config={**size, "vocab_size": 200, "max_position_embeddings": 80, **options},
    )
    torch.manual_seed(0)
    model = getattr(transformers, names[0])(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.08)
    ids = torch.randint(1, 190, (1, text), generator=torch.Generator().manual_seed(3))
    if kind == "clip":
        ids[0, -1] = 199
    with torch.no_grad():
        words = F.normalize(model.get_text_features(input_ids=ids).pooler_output, dim=-1)

    def alone(x, net):
        picture = F.normalize(net.get_image_features(pixel_values=x).pooler_output, dim=-1)
        logits = net.logit_scale.exp() * picture @ words.T
        return logits + net.logit_bias if kind == "siglip" else logits

    return Of(lambda x, net: net(input_ids=ids, pixel_values=x).logits_per_image, model), Of(alone, model)


@pytest.mark.parametrize(
    ("kind", "text"), [("siglip", 64), ("siglip", 65), ("clip", 65), ("clip", 64), ("clip", 7)]
)
def test_the_words_of_a_second_tower_are_no_patches(kind, text):
    options = {"eos_token_id": 199, "bos_token_id": 198, "pad_token_id": 0} if kind == "clip" else {}
    both, alone = two_towers(kind, text, **options)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(both(images), alone(images), rtol=1e-3, atol=1e-4)
    methods = (*OF_STREAMS, "gradcam")
    for method in methods:
        a, b = (vitcam.explain(model, images, method, targets=0).heatmaps for model in (both, alone))
        assert a.shape == (1, 1, 8, 8)
        assert (a - b).abs().max() < 1e-2 * b.abs().max(), method
        assert b.abs().max() > 0


def test_a_recording_says_which_call_is_a_layer_of_which_stream():
    score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
    both = record(
        Of(lambda x, a, b: a(x) + b(x.flip(-1)), ViT(0), ViT(1)), IMAGES, score, Need.NOTHING
    ).layout
    assert [site.stream for site in both.calls] == [0] * 3 + [1] * 3
    assert both.streams[0].grid.order == ()
    assert both.streams[1].grid.order[:4] == (4, 3, 2, 1)
