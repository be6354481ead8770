"""What a layer passes on: TokenTM, Beyond Intuition by tokens, Grad-ECLIP and MaskCLIP, by a model's own parts."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vitcam
from contract import oracle
from families import images_of, model_of
from small_models import HomemadeViT, perturbed, timm_vit
from vitcam.errors import MethodError
from vitcam.models.promptable import ImageTower


@dataclass
class Case:
    """A model in parts; ``read`` is the share of each token in what its head reads."""

    model: nn.Module
    images: torch.Tensor
    tokens: object
    blocks: list[SimpleNamespace]
    head: object
    prefix: int
    read: torch.Tensor


def torchvisions():
    model, images = model_of("torchvision vit").eval(), images_of("torchvision vit", 2)

    def tokens(x):
        patches = model.conv_proj(x).flatten(2).transpose(1, 2)
        return torch.cat([model.class_token.expand(len(x), -1, -1), patches], 1) + model.encoder.pos_embedding

    blocks = [
        SimpleNamespace(
            norm1=layer.ln_1,
            qkv=lambda x, own=layer.self_attention: F.linear(x, own.in_proj_weight, own.in_proj_bias),
            proj=layer.self_attention.out_proj,
            heads=layer.self_attention.num_heads,
            scale=torch.ones(()),
            rest=lambda x, layer=layer: layer.mlp(layer.ln_2(x)),
        )
        for layer in model.encoder.layers
    ]
    return Case(model, images, tokens, blocks, lambda x: model.heads(model.encoder.ln(x)), 1, first(17))


def timms(**options):
    """With a layer scale, as DINOv2 has it."""
    torch.manual_seed(0)
    model = perturbed(timm_vit(init_values=0.3, **options), matrices=0.1, vectors=0.1)
    images, averages = images_of("torchvision vit", 2), options.get("global_pool") == "avg"
    blocks = [
        SimpleNamespace(
            norm1=block.norm1,
            qkv=block.attn.qkv,
            proj=block.attn.proj,
            heads=block.attn.num_heads,
            scale=block.ls1.gamma,
            rest=lambda x, block=block: block.ls2(block.mlp(block.norm2(x))),
        )
        for block in model.blocks
    ]
    read = torch.full((16,), 1 / 16) if averages else first(17)
    return Case(
        model,
        images,
        lambda x: model._pos_embed(model.patch_embed(x)),
        blocks,
        lambda x: model.head(model.fc_norm(model.norm(x))),
        0 if averages else 1,
        read,
    )


def first(tokens):
    return torch.eye(tokens)[0]


CASES = {
    "torchvision": torchvisions,
    "layer scale": timms,
    "average": lambda: timms(class_token=False, global_pool="avg"),
}


@dataclass
class Step:
    before: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    given: torch.Tensor  # what attention gives, heads side by side
    passed: torch.Tensor
    between: torch.Tensor
    after: torch.Tensor


def steps_of(case, image):
    """One image through the parts of a model."""
    x, steps = case.tokens(image[None])[0], []
    for block in case.blocks:
        q, k, v = block.qkv(block.norm1(x)).chunk(3, dim=-1)
        by_head = [part.unflatten(-1, (block.heads, -1)).transpose(0, 1) for part in (q, k, v)]
        maps = (by_head[0] @ by_head[1].transpose(1, 2) / by_head[0].shape[-1] ** 0.5).softmax(-1)
        given = (maps @ by_head[2]).transpose(0, 1).flatten(1)
        between = x + block.scale * block.proj(given)
        after = between + block.rest(between)
        passed = block.scale * (v @ block.proj.weight.T)
        steps.append(Step(x, q, k, v, given, passed, between, after))
        x = after
    return steps


@pytest.fixture(params=CASES)
def case(request):
    with torch.no_grad():
        return CASES[request.param]()


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3)


def transformation(before, after):
    cosines = [float(F.cosine_similarity(x, y, dim=0)) for x, y in zip(before, after, strict=True)]
    total = sum(torch.tensor(cosines).exp())
    lengths = [float(y.norm() / x.norm()) for x, y in zip(before, after, strict=True)]
    weights = zip(cosines, lengths, strict=True)
    return torch.diag(torch.stack([torch.tensor(c).exp() / total * length for c, length in weights]))


def tokentm_by_hand(case, target, skip):
    """With the skip connection, the arithmetic of the public re-implementation."""
    layers = oracle.gradients(case.model, case.images, lambda y: y[:, target])
    found = []
    for i, image in enumerate(case.images):
        with torch.no_grad():
            steps = steps_of(case, image)
        identity = torch.eye(len(case.read))
        whole = alone = torch.diag(steps[0].before.norm(dim=1))
        for step, layer in zip(steps, layers, strict=True):
            of_attention = transformation(step.before, step.between if skip else step.passed)
            added = step.after if skip else step.after - step.between
            of_mlp = identity + transformation(step.between, added)
            attended = layer.maps[i].detach().mean(0) @ of_attention
            raised = layer.maps.grad[i].relu().mean(0)
            whole = of_mlp @ (identity + attended * raised) @ whole
            alone = of_mlp @ alone
        found.append((case.read @ (whole if case.prefix else whole - alone))[case.prefix :])
    return torch.stack(found)


@pytest.mark.parametrize("skip", [False, True])
def test_tokentm_equals_whole_matrices(case, skip):
    ours = vitcam.explain(case.model, case.images, "tokentm", [[2, 5]] * 2, skip=skip).heatmaps
    for place, target in enumerate((2, 5)):
        close(ours[:, place].flatten(1), tokentm_by_hand(case, target, skip))


def bt_by_hand(case, target, first, steps):
    """The authors' loop, from the first layer up."""
    total, maps = 0, oracle.attention_maps(case.model, case.images)
    for share in torch.linspace(0, 1, steps):
        layers = oracle.gradients(case.model, case.images * share, lambda y: y[:, target])
        total = total + layers[-1].maps.grad
    state, found = (total / steps).clamp(min=0).mean(1), []
    for i, image in enumerate(case.images):
        with torch.no_grad():
            parts = steps_of(case, image)
        product = torch.eye(len(case.read))
        for step, layer in list(zip(parts, maps, strict=True))[first:]:
            order = torch.diag(step.passed.norm(dim=-1) / step.before.norm(dim=-1))
            product = product + layer[i] @ order @ product
        found.append(((case.read @ product.abs()) * (case.read @ state[i]))[case.prefix :])
    return torch.stack(found)


def test_bt_by_tokens_equals_whole_matrices(case):
    ours = vitcam.explain(case.model, case.images, "bt(kind='tokens', start_layer=1, steps=3)", [5, 5])
    close(ours.heatmaps[:, 0].flatten(1), bt_by_hand(case, 5, 1, 3))


def eclipsed(case, image, target, similarity, layer=-1):
    """The authors' notebook, with the model's own heads: of one layer, before its ReLU."""
    with torch.no_grad():
        step = steps_of(case, image)[layer]
    given = step.given.clone().requires_grad_()
    x = step.before + case.blocks[layer].scale * case.blocks[layer].proj(given)
    x = x + case.blocks[layer].rest(x)
    pooled = case.model.norm(x).mean(0) if not case.prefix else None
    y = (case.head(x[0]) if case.prefix else case.model.head(case.model.fc_norm(pooled)))[target]
    (gradient,) = torch.autograd.grad(y, given)
    total = torch.zeros(len(case.read) - case.prefix)
    for i in range(len(case.read)):
        cosine = F.cosine_similarity(step.q[i][None], step.k[case.prefix :], dim=-1)
        cosine = (cosine - cosine.min()) / (cosine.max() - cosine.min())
        for j in range(len(total)):
            weight = cosine[j] if similarity else 1
            total[j] += weight * (gradient[i] * step.v[case.prefix + j]).sum()
    return total


@pytest.mark.parametrize("similarity", [True, False])
def test_grad_eclip_equals_the_authors_arithmetic(case, similarity):
    ours = vitcam.explain(case.model, case.images, "grad-eclip", [[2, 5]] * 2, similarity=similarity)
    same = vitcam.explain(
        case.model, case.images, "grad-eclip", [[2, 5]] * 2, similarity=similarity, layers=[-1]
    )
    for i, image in enumerate(case.images):
        for place, target in enumerate((2, 5)):
            expected = eclipsed(case, image, target, similarity).relu()
            close(ours.heatmaps[i, place].flatten(), expected)
            close(same.heatmaps[i, place].flatten(), expected)
    assert ours.heatmaps.max() > 0


def valued(case, image):
    """The tokens that leave the last block if attention gives each token its value."""
    block = case.blocks[-1]
    with torch.no_grad():
        step = steps_of(case, image)[-1]
        x = step.before + block.scale * block.proj(step.v)
        return x + block.rest(x)


def test_maskclip_is_the_head_on_each_value(case):
    ours = vitcam.explain(case.model, case.images, "maskclip", [[2, 5]] * 2)
    for i, image in enumerate(case.images):
        with torch.no_grad():
            expected = case.head(valued(case, image))[case.prefix :, [2, 5]]
        close(ours.heatmaps[i].flatten(1), expected.T)


def test_prompts_of_a_clip_model():
    """maskclip is the cosine of each value and the prompt, and grad-eclip goes back from it."""
    with torch.no_grad():
        case = timms()
    texts = F.normalize(torch.randn(3, 9, generator=torch.Generator().manual_seed(0)), dim=-1)
    clip = ImageTower(case.model, torch.tensor(50.0)).with_texts(texts)
    maps = vitcam.compare(clip, case.images, ["maskclip", "grad-eclip"], [[0, 2]] * 2, batch_size=1)
    for i, image in enumerate(case.images):
        with torch.no_grad():
            features = case.head(valued(case, image))[1:]
        expected = 50 * torch.stack([F.cosine_similarity(features, texts[[t]], dim=-1) for t in (0, 2)])
        close(maps["maskclip"].heatmaps[i].flatten(1), expected)
        asked = Case(**{**vars(case), "head": lambda x: 50 * F.normalize(case.head(x), dim=-1) @ texts.T})
        expected = torch.stack([eclipsed(asked, image, t, True).relu() for t in (0, 2)])
        close(maps["grad-eclip"].heatmaps[i].flatten(1), expected)


class Sandwich(nn.Module):
    """A block with a norm behind its attention, too: what it adds isn't what the projection gives."""

    def __init__(self, block):
        super().__init__()
        self.block, self.behind = block, nn.LayerNorm(24)

    def forward(self, x):
        own = self.block
        q, k, v = own.qkv(own.norm(x)).unflatten(-1, (3, own.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.behind(own.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return x + own.mlp(x)


class Gated(Sandwich):
    """A block whose attention is gated before its projection."""

    def forward(self, x):
        own = self.block
        q, k, v = own.qkv(own.norm(x)).unflatten(-1, (3, own.heads, -1)).permute(2, 0, 3, 1, 4)
        gated = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2) * x.sigmoid()
        return x + own.out(gated) + own.mlp(x)


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Sandwich, "what it adds to its tokens isn't"), (Gated, "doesn't go straight into a linear layer")],
)
@pytest.mark.parametrize("method", ["tokentm", "bt(kind='tokens', steps=2)"])
def test_blocks_of_another_kind_say_so(kind, why, method):
    model = HomemadeViT().eval()
    model.blocks = nn.ModuleList(kind(block) for block in model.blocks)
    with pytest.raises(MethodError, match=rf"isn't defined for HomemadeViT: blocks\.0: .*{why}"):
        vitcam.explain(model, torch.randn(1, 3, 32, 32), method, targets=1)


class ReadsTheFirstBlock(HomemadeViT):
    """A head that reads what two blocks return."""

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        first = self.blocks[0](x)
        return self.head((self.blocks[2](self.blocks[1](first)) - 2 * first)[:, 0])


def test_maskclip_of_a_head_that_reads_more_says_so():
    with pytest.raises(
        MethodError, match=r"maskclip isn't defined for ReadsTheFirstBlock: its head reads more"
    ):
        vitcam.explain(ReadsTheFirstBlock().eval(), torch.randn(1, 3, 32, 32), "maskclip", targets=1)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("bt(kind='both')", "bt has no kind='both'; choose one of 'heads', 'tokens'"),
        ("grad-eclip(layers='last:9')", "grad-eclip can't use layers='last:9'"),
    ],
)
def test_wrong_options(method, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model_of("torchvision vit"), images_of("torchvision vit", 1), method)
