"""Where the CAM family looks: the points of a model, and when there is no map at one."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from torch import nn

import vitcam
from small_models import HomemadeBlock, HomemadeViT, perturbed, timm_vit
from vitcam.errors import MethodError
from vitcam.recording import FeatureNeed, Need, Score, record

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def hirescam_by_hand(model, module, images=IMAGES, target=1, prefix=1, of_tuple=False):
    kept = []

    def keep(module, args, output):
        kept.append(output.requires_grad_())
        output.retain_grad()

    handle = module.register_forward_hook(keep)
    model(images)[:, target].sum().backward()
    handle.remove()
    return (kept[0] * kept[0].grad).sum(-1)[:, prefix:].detach()


def assert_by_hand(model, method, module, **options):
    ours = vitcam.explain(model, IMAGES, method, targets=1).heatmaps[:, 0].flatten(1)
    torch.testing.assert_close(ours, hirescam_by_hand(model, module, **options), rtol=1e-4, atol=1e-6)


class InPlaceBlock(HomemadeBlock):
    """Writes over what the block before it returned."""

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x.clone())).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x += self.out(self.attend(q, k, v, self.dropout).transpose(1, 2).flatten(2))
        return x + self.mlp(x)


def test_what_a_block_returns_although_the_next_writes_over_it():
    model, in_place = perturbed(HomemadeViT(pool="mean")), HomemadeViT(pool="mean")
    for i in range(3):
        in_place.blocks[i] = InPlaceBlock()
    in_place.load_state_dict(model.state_dict())
    in_place.eval()
    torch.testing.assert_close(in_place(IMAGES), model(IMAGES))
    assert_by_hand(model, "hirescam(layer=0, at='block')", model.blocks[0])
    for method in ("hirescam(layer=0, at='block')", "eigencam(layer=1, at='block')"):
        plain, written = (vitcam.explain(each, IMAGES, method, targets=1) for each in (model, in_place))
        torch.testing.assert_close(written.heatmaps, plain.heatmaps, rtol=1e-4, atol=1e-6)


def test_the_second_norm_is_none_of_the_attention():
    """Norms of queries and keys run between the block's own."""
    model = perturbed(timm_vit(qk_norm=True, global_pool="avg", class_token=False))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    ours = vitcam.explain(model, images, "hirescam(layer=1, at='norm2')", targets=1).heatmaps[:, 0].flatten(1)
    expected = hirescam_by_hand(model, model.blocks[1].norm2, images, prefix=0)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_layers_that_share_weights_are_several():
    class Looped(HomemadeViT):
        def forward(self, images):
            x = self.patches(images).flatten(2).transpose(1, 2)
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
            for block in (self.blocks[0], self.blocks[1], self.blocks[0]):
                x = block(x)
            return self.head(x[:, 1:].mean(1))

    looped, unrolled = perturbed(Looped()), perturbed(HomemadeViT(pool="mean"))
    unrolled.load_state_dict(looped.state_dict())
    unrolled.blocks[2].load_state_dict(looped.blocks[0].state_dict())
    for method in ("hirescam(layer=0, at='block')", "hirescam(layer=1)", "hirescam(layer=2)"):
        one, other = (vitcam.explain(each, IMAGES, method, targets=1).heatmaps for each in (looped, unrolled))
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    with pytest.raises(MethodError, match=r"comes to the first norm of its block 0 2 times in a pass"):
        vitcam.explain(looped, IMAGES, "ablationcam(layer=0)", targets=1)
    with pytest.raises(MethodError, match=r"blocks\.0\.norm isn't called exactly once"):
        vitcam.explain(looped, IMAGES, "gradcam(layer='blocks.0.norm')", targets=1)


class Shuffled(nn.Module):
    """A layer whose tokens stand in another order, or are sorted by what is in the image."""

    def __init__(self, by_content):
        super().__init__()
        self.by_content = by_content

    def forward(self, x):
        order = x.norm(dim=-1).argsort(1) if self.by_content else torch.arange(x.shape[1]).flip(0)[None]
        return x.gather(1, order.expand(len(x), -1)[..., None].expand_as(x))


@pytest.mark.parametrize("by_content", [False, True])
def test_tokens_in_another_order_are_refused(by_content):
    class Aside(HomemadeViT):
        def __init__(self):
            super().__init__(pool="mean")
            self.shuffled = Shuffled(by_content)

        def forward(self, images):
            x = self.patches(images).flatten(2).transpose(1, 2)
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
            for block in self.blocks:
                x = block(x)
            return self.head(self.shuffled(x)[:, :5].mean(1))

    model = perturbed(Aside())
    with pytest.raises(MethodError, match=r"the output of shuffled gives \(17, 24\).* couldn't be confirmed"):
        vitcam.explain(model, IMAGES, "eigencam(layer='shuffled')", targets=1)
    assert vitcam.explain(model, IMAGES, "gradcam", targets=1).heatmaps.shape == (2, 1, 4, 4)


def test_a_feature_map_of_another_grid():
    model = perturbed(HomemadeViT(pool="mean"))
    model.patches = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU(), nn.Conv2d(8, 24, 2, 2)).eval()
    both = vitcam.compare(model, IMAGES, ["eigencam(layer='patches.0')", "hirescam", "agcam"], targets=1)
    assert [e.heatmaps.shape[2:] for e in both.values()] == [(8, 8), (4, 4), (4, 4)]
    (features,) = (model.patches[0](IMAGES).flatten(2).transpose(1, 2).detach(),)
    centred = features - features.mean(1, keepdim=True)
    for i in range(2):
        component = centred[i] @ torch.linalg.svd(centred[i], full_matrices=False).Vh[0]
        component = component * component[component.abs().argmax()].sign()
        ours = both["eigencam(layer='patches.0')"].heatmaps[i, 0].flatten()
        torch.testing.assert_close(ours, component, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "gradcam(layer=3)",
            r"there is no layer 3: HomemadeViT has the blocks 0 to 2 \(negative: from the last\)",
        ),
        ("gradcam(layer='blocks.1.nrom')", r"no layer 'blocks\.1\.nrom'.* there are .*blocks\.1\.norm"),
        ("gradcam(at='norm3')", r"no at='norm3' in a block: give one of 'norm1', 'norm2', 'block'"),
        (
            "gradcam(layer='blocks.1', at='block')",
            r"at='block' is a place in a block that is counted by number",
        ),
        ("gradcam(layer=1.5)", r"gradcam takes a whole number or a string"),
        ("layercam(smooth='both')", r"layercam has no smooth='both'; choose one of 'none', 'eigen', 'aug'"),
        ("eigencam(smooth='eigen')", r"eigencam has no smooth='eigen'; choose one of 'none', 'aug'"),
        (
            "gradcam(at='block')",
            r"doesn't depend on the patches at the output of its last block.*Choose an earlier",
        ),
        ("gradcam(layer='head')", r"the output of head gives \(5,\) per image"),
    ],
)
def test_points_that_there_are_not(method, message):
    with pytest.raises(MethodError, match=message):
        vitcam.explain(perturbed(HomemadeViT()), IMAGES, method, targets=1)


def test_smoothing_of_images_that_patches_do_not_cover():
    model = perturbed(
        timm.create_model(
            "flexivit_small", depth=2, embed_dim=24, num_heads=3, img_size=40, patch_size=16, num_classes=5
        )
    )
    images = torch.randn(1, 3, 40, 40)
    assert vitcam.explain(model, images, "gradcam(smooth='eigen')", targets=1).heatmaps.shape == (1, 1, 2, 2)
    with pytest.raises(MethodError, match=re.escape("isn't defined with smooth='aug' for VisionTransformer")):
        vitcam.explain(model, images, "gradcam(smooth='aug')", targets=1)


def test_methods_of_a_layer_share_its_gradient(monkeypatch):
    from vitcam.recording import token_gradients

    calls = []
    original = token_gradients.backward

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(token_gradients, "backward", counted)
    model = perturbed(HomemadeViT())
    vitcam.explain(model, IMAGES, "gradcam", targets=1)
    calls.clear()
    names = ["gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "eigencam", "eigengradcam", "gae"]
    vitcam.compare(model, IMAGES, names, targets=1)
    assert len(calls) == 1


def test_both_needs_of_one_point():
    score = Score(choose=lambda logits: logits.argmax(1, keepdim=True))
    needs = [FeatureNeed(gradient=False), FeatureNeed(), FeatureNeed(0, "block")]
    recording = record(perturbed(HomemadeViT()), IMAGES, score, Need.BLOCK_NORM, features=needs)
    without, with_gradient, block = (recording.features[need] for need in needs)
    assert without.gradient is None
    assert torch.equal(without.by_patch, with_gradient.by_patch)
    assert recording.block_norm is with_gradient
    assert block.gradient_by_patch.shape == (2, 1, 16, 24)
