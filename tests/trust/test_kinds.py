"""Ordinary ways of writing a model: explained like the plain model of the same function, or refused and why."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from hostile_models import IMAGES, METHODS, WIDTH, Block, Of, ViT, assert_same, explained, refused
from torch import nn
from torch.utils.checkpoint import checkpoint

import vitcam
from small_models import hugging_face
from vitcam.errors import ModelError

FORWARD_ONLY = ("attention", "rollout")
WITH_GRADIENTS = ("agcam", "gae", "gradsam", "legrad")


class Packed(ViT):
    """All images in one sequence, each attended to apart from the others."""

    def forward(self, images):
        x = self.tokens(images).flatten(0, 1)
        for block in self.blocks:
            q, k, v = block.qkv(block.norm1(x)).unflatten(-1, (3, 3, -1)).permute(1, 2, 0, 3)[:, None]
            parts = zip(*(t.split(17, 2) for t in (q, k, v)), strict=True)
            each = [F.scaled_dot_product_attention(*part) for part in parts]
            x = x + block.out(torch.cat(each, 2)[0].transpose(0, 1).flatten(1))
            x = x + block.mlp(block.norm2(x))
        return self.read(x.unflatten(0, (-1, 17)))


def test_images_packed_into_one_sequence():
    net, packed = ViT(), Packed()
    packed.load_state_dict(net.state_dict())
    torch.testing.assert_close(packed(IMAGES), net(IMAGES), rtol=1e-3, atol=1e-5)
    methods = ("agcam", "attention", "rollout", "gae", "gradsam")
    expected = explained(net, methods=methods)
    assert_same(explained(packed, methods=methods), expected)


class TokensFirst(Block):
    def attention(self, x):
        return super().attention(x.transpose(0, 1)).transpose(0, 1)


class Multi(Block):
    """The layout of OpenAI's CLIP: (tokens, batch, channels), torch's multi-head attention."""

    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, 3)

    def attention(self, x):
        return self.attn(x, x, x, need_weights=False)[0]


class TokensFirstViT(ViT):
    def through(self, x):
        return super().through(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("batch", [17, 4, 3, 1])
@pytest.mark.parametrize("block", [TokensFirst, Multi])
def test_as_many_images_as_tokens(block, batch):
    images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    model = TokensFirstViT(block=block)
    for method in ("agcam", "attention", "rollout", "gae", "legrad", "gradcam"):
        together = vitcam.explain(model, images, method, targets=1).heatmaps
        alone = torch.cat(
            [vitcam.explain(model, image[None], method, targets=1).heatmaps for image in images[:3]]
        )
        assert_same({method: together[:3]}, {method: alone})


@pytest.mark.slow
def test_fifty_images_of_fifty_tokens():
    images = torch.randn(50, 3, 56, 56, generator=torch.Generator().manual_seed(2))
    model = TokensFirstViT(block=Multi, side=7)
    for method in ("agcam", "attention", "gae"):
        together = vitcam.explain(model, images, method, targets=1).heatmaps[:4]
        alone = torch.cat(
            [vitcam.explain(model, image[None], method, targets=1).heatmaps for image in images[:4]]
        )
        assert_same({method: together}, {method: alone})


@pytest.mark.parametrize("method", METHODS)
def test_a_score_of_one_token(method):
    """Dense heads: the output has every token."""
    dense = Of(lambda x, net: net.head(net.norm(net.through(net.tokens(x)))), ViT())
    chosen = Of(lambda x, net: net.head(net.norm(net.through(net.tokens(x)))[:, 12]), dense.nets[0])
    if method == "gradcam":
        assert vitcam.explain(dense, IMAGES, method, targets=lambda y: y[:, 12, 3]).heatmaps.any()
        return
    found = vitcam.explain(dense, IMAGES, method, targets=lambda y: y[:, 12, 3])
    assert_same(
        {method: found.heatmaps}, {method: vitcam.explain(chosen, IMAGES, method, targets=3).heatmaps}
    )


def scaled_in_place(block, q, k, v):
    o = F.scaled_dot_product_attention(q, k, v)
    o *= 0.5
    return o


def gated_in_place(block, q, k, v):
    o = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
    o.mul_(0.5).add_(0.1)
    return o


def scaled(block, q, k, v):
    return F.scaled_dot_product_attention(q, k, v) * 0.5


def gated(block, q, k, v):
    return F.scaled_dot_product_attention(q, k, v) * 0.5 + 0.1


@pytest.mark.parametrize(("in_place", "plain"), [(scaled_in_place, scaled), (gated_in_place, gated)])
def test_answers_that_are_written_over(in_place, plain):
    a, b = (ViT(block=type("Gated", (Block,), {"attend": attend})) for attend in (in_place, plain))
    methods = tuple(name for name in METHODS if name != "lrp")
    assert_same(explained(a, methods=methods), explained(b, methods=methods))


def reusing_queries(block, q, k, v):
    o = F.scaled_dot_product_attention(q, k, v)
    with torch.no_grad():
        q.zero_(), k.fill_(7.0)
    return o


def reusing_scores(block, q, k, v):
    scores = q @ k.mT * q.shape[-1] ** -0.5
    o = scores.softmax(-1) @ v
    scores.zero_()
    return o


@pytest.mark.parametrize("attend", [reusing_queries, reusing_scores])
def test_what_attention_has_read_is_written_over(attend):
    model = ViT(block=type("Reusing", (Block,), {"attend": attend}))
    methods = ("agcam", "attention", "rollout", "legrad")
    assert_same(explained(model, methods=methods), explained(ViT(), methods=methods))
    methods = ("gae", "gradsam", "gradcam")
    found = explained(model, methods=methods)
    if attend is reusing_scores:
        assert_same(found, explained(ViT(), methods=methods))
    else:
        refused(found, "writes over values that its gradient needs")
        with pytest.raises(ModelError, match="writes over values that its gradient needs"):
            vitcam.explain(model, IMAGES, "captum:Saliency", targets=1)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_images_that_are_written_into(one_by_one):
    def normalised_in_place(x, net):
        x.sub_(0.1).div_(0.7)
        return net(x)

    class One(ViT):
        def tokens(self, images):
            return super().tokens(images) if len(images) == 1 else self.token.new_zeros(0, 0)

    model = Of(normalised_in_place, One() if one_by_one else ViT())
    images = IMAGES[: 1 if one_by_one else 2].clone()
    methods = (*METHODS, "captum:Saliency")
    found = explained(model, images, methods)
    assert torch.equal(images, IMAGES[: len(images)])
    plain = Of(lambda x, net: net((x - 0.1) / 0.7), model.nets[0])
    assert_same(found, explained(plain, images, methods))
    assert found["agcam"].equal(vitcam.explain(model, images, targets=1).heatmaps)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_first_parameter_of_another_precision_than_the_images(dtype):
    class Mixed(ViT):
        def tokens(self, images):
            return super().tokens(images.to(dtype)).float()

    model = Mixed()
    model.patches.to(dtype)
    model.token.data, model.positions.data = model.token.data.float(), model.positions.data.float()
    for images in (IMAGES, IMAGES.to(dtype)):
        found = explained(model, images, ("agcam", "attention", "gae"))
        assert_same(found, explained(ViT(), methods=("agcam", "attention", "gae")), 0.1)


class HeadInFull(ViT):
    def read(self, x):
        return self.head(self.norm(x)[:, 0].float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_tower_of_another_precision_than_its_head(dtype):
    model = HeadInFull().to(dtype)
    model.head.float()
    methods = ("agcam", "attention", "gae", "gradsam", "legrad", "gradcam")
    for images in (IMAGES, IMAGES.to(dtype)):
        assert_same(explained(model, images, methods), explained(ViT(), methods=methods), 0.1)


def test_a_forward_in_lower_precision_by_itself():
    def forward(x, net):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net(x).float()

    methods = ("agcam", "attention", "gae", "gradsam", "legrad", "gradcam")
    assert_same(explained(Of(forward, ViT()), methods=methods), explained(ViT(), methods=methods), 0.1)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_checkpoints_in_forward(reentrant, training):
    def forward(x, net):
        x = net.tokens(x)
        for block in net.blocks:
            x = checkpoint(block, x, use_reentrant=reentrant)
        return net.read(x)

    assert_same(explained(Of(forward, ViT()).train(training)), explained(ViT()))


def test_a_model_that_needs_its_own_attention_maps():
    model = hugging_face("ViTForImageClassification", "ViTConfig", num_labels=5, initializer_range=0.1)
    model.set_attn_implementation("eager")

    def weighed(x, net):
        output = net(x, output_attentions=True)
        return output.logits * output.attentions[-1].mean(1)[:, 0, 1:].amax(1, keepdim=True)

    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.eval()(images, output_attentions=True).attentions[-1].mean(1)[:, 0, 1:]
    both = Of(weighed, model)
    found = vitcam.explain(both, images, "attention").heatmaps.flatten(1)
    torch.testing.assert_close(found, expected)
    assert vitcam.explain(both, images, "agcam").heatmaps.isfinite().all()
    assert model.config._attn_implementation == "eager"


COMPILED = {
    "forward": lambda net: setattr(net, "forward", torch.compile(net.forward, backend="eager")),
    "a method": lambda net: setattr(net, "through", torch.compile(net.through, backend="eager")),
    "a block": lambda net: net.blocks[1].compile(backend="eager"),
    "a wrapped block": lambda net: net.blocks.__setitem__(1, torch.compile(net.blocks[1], backend="eager")),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_functions_inside(name):
    torch._dynamo.reset()
    model, expected = ViT(), explained(ViT(), methods=("agcam", "gradcam", "gae"))
    COMPILED[name](model)
    with torch._dynamo.config.patch(recompile_limit=1):
        assert_same(explained(model, methods=("agcam", "gradcam", "gae")), expected)
    torch._dynamo.reset()


def frozen(x, net):
    with torch.no_grad():
        features = net.through(net.tokens(x))
    return net.read(features)


def detached(x, net):
    return net.read(net.through(net.tokens(x)).detach())


def frozen_in_part(x, net):
    with torch.no_grad():
        x = net.blocks[0](net.tokens(x))
    for block in net.blocks[1:]:
        x = block(x)
    return net.read(x)


def frozen_in_inference_mode(x, net):
    with torch.inference_mode():
        features = net.through(net.tokens(x))
    return net.read(features.clone())


@pytest.mark.parametrize("forward", [frozen, detached, frozen_in_part, frozen_in_inference_mode])
def test_gradients_cut_inside(forward):
    model = Of(forward, ViT())
    refused(explained(model, methods=WITH_GRADIENTS), "without gradients itself", "cuts gradients")
    refused(explained(model, methods=("lrp", "attnlrp")), "cuts gradients")
    # The last block's norm may lie behind the cut; its map is right then.
    last = explained(model, methods=("gradcam",))
    if forward is frozen_in_part:
        assert_same(last, explained(ViT(), methods=("gradcam",)))
    else:
        refused(last, "without gradients itself", "cuts gradients")
    assert_same(explained(model, methods=FORWARD_ONLY), explained(ViT(), methods=FORWARD_ONLY))


def test_a_frozen_backbone_whose_patches_are_averaged():
    def averaged(x, net):
        return net.head(net.norm(net.through(net.tokens(x)))[:, 1:].mean(1))

    def cut(x, net):
        with torch.no_grad():
            features = net.norm(net.through(net.tokens(x)))[:, 1:].mean(1)
        return net.head(features)

    a, b = (explained(Of(forward, ViT()), methods=FORWARD_ONLY) for forward in (cut, averaged))
    assert_same(a, b)


def averaging(net):
    net.pool = "mean"


def with_another_head(net):
    net.head = nn.Linear(WIDTH, 5)


def with_fewer_blocks(net):
    net.blocks = net.blocks[:2]


class Switched(ViT):
    pool = "class"

    def read(self, x):
        return super().read(x) if self.pool == "class" else self.head(self.norm(x)[:, 1:].mean(1))


@pytest.mark.parametrize("change", [averaging, with_fewer_blocks])
def test_what_was_remembered_of_another_state_is_forgotten(change):
    model, fresh = Switched(), Switched()
    explained(model, methods=("agcam",))
    change(model)
    change(fresh)
    assert_same(explained(model, methods=METHODS[:7]), explained(fresh, methods=METHODS[:7]))


class Counting(ViT):
    """Something is kept from call to call."""

    calls = 0

    def forward(self, images):
        self.calls += 1
        return super().forward(images) * self.calls


class Turning(ViT):
    """The head reads the class token, so that the order of patches changes no logit."""

    calls = 0

    def tokens(self, images):
        x = super().tokens(images)
        self.calls += 1
        return torch.cat([x[:, :1], x[:, 1:].flip(1)], 1) if self.calls % 2 else x


class Leaving(ViT):
    """Layers are left out at random."""

    def through(self, x):
        for block in self.blocks:
            x = block(x) if torch.rand(()) < 0.5 else x
        return x


class MixingTheBatch(ViT):
    def read(self, x):
        logits = super().read(x)
        return logits - logits.mean(0, keepdim=True)


@pytest.mark.parametrize("kind", [Counting, Turning, MixingTheBatch, Leaving])
@pytest.mark.parametrize("method", ["agcam", "rollout", "gae", "gradcam"])
def test_models_that_change_from_call_to_call_are_refused(kind, method):
    torch.manual_seed(4)
    with pytest.raises(ModelError, match=r"another output, or|other attention calls|no attention was seen"):
        vitcam.explain(kind(), IMAGES, method, targets=1)


def tied(x, net):
    x = net.tokens(x)
    for _ in range(3):
        x = net.blocks[0](x)
    return net.read(x)


def test_a_block_that_is_called_again_and_again():
    net, plain = ViT(), ViT()
    for index in range(3):
        plain.blocks[index].load_state_dict(net.blocks[0].state_dict())
    methods = tuple(name for name in METHODS if name != "legrad")
    assert_same(explained(Of(tied, net), methods=methods), explained(plain, methods=methods))
    refused(explained(Of(tied, net), methods=("legrad",)), "each called once")


BETWEEN = {
    "rolled": lambda x: torch.cat([x[:, :1], x[:, 1:].roll(1, 1)], 1),
    "backwards": lambda x: torch.cat([x[:, :1], x[:, 1:].flip(1)], 1),
    "sorted by what is in the image": lambda x: torch.cat(
        [x[:, :1], x[:, 1:].gather(1, x[:, 1:].norm(dim=-1).argsort(1)[..., None].expand_as(x[:, 1:]))], 1
    ),
    "merged": lambda x: torch.cat([x[:, :1], x[:, 1:].unflatten(1, (-1, 2)).mean(2)], 1),
    "four left out": lambda x: x[:, :13],
}


@pytest.mark.parametrize("name", BETWEEN)
def test_gradcam_of_tokens_that_are_no_longer_in_rows_is_refused(name):
    def forward(x, net):
        x = net.blocks[1](net.blocks[0](net.tokens(x)))
        return net.read(net.blocks[2](BETWEEN[name](x)))

    refused(explained(Of(forward, ViT()), methods=("gradcam", "rollout")), "isn't defined for Of")


def test_gradcam_of_a_block_whose_attention_alone_is_in_another_order():
    class Scan(Block):
        def attention(self, x):
            order = torch.cat(
                [torch.zeros(1, dtype=torch.long), 1 + torch.arange(16).view(4, 4).t().flatten()]
            )
            return super().attention(x[:, order])[:, order.argsort()]

    plain, scan = ViT(), ViT(block=Scan)
    scan.load_state_dict(plain.state_dict())
    torch.testing.assert_close(scan(IMAGES), plain(IMAGES), rtol=1e-3, atol=1e-5)
    methods = ("agcam", "attention", "rollout", "gae", "gradsam")
    assert_same(explained(scan, methods=methods), explained(plain, methods=methods))
    refused(explained(scan, methods=("gradcam",)), "couldn't be confirmed")


def test_values_written_over_that_a_gradient_needs():
    class InPlace(Block):
        def forward(self, x):
            x = x.clone()
            x += self.attention(self.norm1(x))
            x += self.mlp(self.norm2(x))
            return x

    with pytest.raises(ModelError, match="writes over values that its gradient needs"):
        vitcam.explain(ViT(block=InPlace), IMAGES)


def test_a_model_of_one_image_at_a_time():
    class One(ViT):
        def tokens(self, images):
            return (
                torch.cat([self.token, self.patches(images).flatten(2).transpose(1, 2)], 1) + self.positions
            )

    assert_same(explained(One(), IMAGES[:1]), explained(ViT(), IMAGES[:1]))


@pytest.mark.parametrize("share", [3e-4, 6e-4, 2e-3])
def test_a_model_in_which_the_image_is_faint_is_explained(share):
    """Behind many convolutions little may be left of a change; the calls are the same each time all the same."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=5).eval()
    with torch.no_grad():
        model.pos_embed.normal_()
        for parameter in model.patch_embed.parameters():
            parameter.mul_(share)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert vitcam.explain(model, images, "gradcam", targets=[[0], [3]]).heatmaps.shape == (2, 1, 4, 4)
