"""Grad-CAM: parity with pip grad-cam, hierarchical models, and where it isn't defined."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

import vitcam
from families import FAMILIES, images_of, model_of
from vitcam.errors import MethodError

reference = pytest.importorskip("pytorch_grad_cam", reason="the reference, pip grad-cam, isn't installed")


def by_reference(model, images, targets, layer, reshape):
    """Grad-CAM by pip grad-cam, which scales each map to 0..1."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with reference.GradCAM(model=model, target_layers=[layer], reshape_transform=reshape) as cam:
        return cam(input_tensor=images, targets=[ClassifierOutputTarget(target) for target in targets])


def scaled_like_reference(heatmaps, size):
    from pytorch_grad_cam.utils.image import scale_cam_image

    return scale_cam_image(scale_cam_image(heatmaps.numpy(), (size, size)))


def of_tokens(prefix, side):
    """The usual reshape transform: the tokens after the class token as (batch, channels, height, width)."""
    return lambda tokens: (
        tokens[:, prefix:].reshape(len(tokens), side, side, -1).transpose(2, 3).transpose(1, 2)
    )


@pytest.mark.parametrize("name", ["timm vit", "timm deit distilled", "timm gap"])
def test_equals_pip_grad_cam_on_random_weights(name):
    model, images, targets = model_of(name).eval(), images_of(name), [4, 0, 7]
    side, size = FAMILIES[name].grid.height, FAMILIES[name].size
    expected = by_reference(
        model, images, targets, model.blocks[-1].norm1, of_tokens(model.num_prefix_tokens, side)
    )
    ours = vitcam.explain(model, images, "gradcam", targets=targets).heatmaps[:, 0]
    assert expected.max() > 0.9
    np.testing.assert_allclose(scaled_like_reference(ours, size), expected, atol=2e-3)


def test_equals_pip_grad_cam_on_the_embedded_model():
    loaded = vitcam.load_model("embedded:photo")
    size = loaded.module.patch_embed.img_size[0]
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    blocks, grid = loaded.module.blocks, loaded.module.patch_embed.grid_size
    expected = by_reference(
        loaded.module, images, [1, 2], blocks[-1].norm1, of_tokens(loaded.module.num_prefix_tokens, grid[0])
    )
    ours = vitcam.explain(loaded, images, "gradcam", targets=[1, 2]).heatmaps[:, 0]
    assert expected.max() > 0.9
    np.testing.assert_allclose(scaled_like_reference(ours, size), expected, atol=2e-3)


def test_equals_pip_grad_cam_on_swin():
    model = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 2, 2), num_classes=5).eval()
    images, targets = torch.randn(2, 3, 224, 224), [[1, 3], [4, 0]]
    ours = vitcam.explain(model, images, "gradcam", targets=targets).heatmaps
    for t in range(2):
        expected = by_reference(
            model,
            images,
            [targets[0][t], targets[1][t]],
            model.layers[-1].blocks[-1].norm1,
            lambda x: x.permute(0, 3, 1, 2),
        )
        np.testing.assert_allclose(scaled_like_reference(ours[:, t], 224), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "norm", "side"),
    [("twins_pcpvt_small", "blocks.3.2.norm1", 7), ("pvt_v2_b0", "stages.3.blocks.1.norm1", 7)],
)
def test_equals_pip_grad_cam_on_reduced_keys(name, norm, side):
    model = timm.create_model(name, num_classes=5).eval()
    images = torch.randn(1, 3, 224, 224)
    expected = by_reference(model, images, [2], model.get_submodule(norm), of_tokens(0, side))
    ours = vitcam.explain(model, images, "gradcam", targets=2).heatmaps
    assert ours.shape == (1, 1, side, side)
    np.testing.assert_allclose(scaled_like_reference(ours[:, 0], 224), expected, atol=2e-3)


class TokensFirst(nn.Module):
    """A ViT whose blocks have tokens in front of the batch; ``normed`` blocks or bare ones."""

    def __init__(self, norm=nn.LayerNorm, batch_first=False):
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Conv2d(3, 12, 8, 8)
        self.blocks = nn.Sequential(*(Block(norm, batch_first) for _ in range(2)))
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if not self.batch_first:
            tokens = tokens.transpose(0, 1)
        tokens = self.blocks(tokens)
        return self.head(tokens.mean(1 if self.batch_first else 0))


class Block(nn.Module):
    def __init__(self, norm, batch_first):
        super().__init__()
        self.before = norm(12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=batch_first)

    def forward(self, x):
        normed = self.before(x)
        return x + self.attention(normed, normed, normed)[0]


def test_tokens_in_front_of_the_batch():
    torch.manual_seed(0)
    seq_first, images = TokensFirst().eval(), torch.randn(3, 3, 32, 32)
    batch_first = TokensFirst(batch_first=True).eval()
    batch_first.load_state_dict(seq_first.state_dict())
    for method in ("gradcam", "legrad"):
        one = vitcam.explain(seq_first, images, method, targets=[[1, 2]] * 3).heatmaps
        other = vitcam.explain(batch_first, images, method, targets=[[1, 2]] * 3).heatmaps
        assert one.max() > 0
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_blocks_without_a_norm():
    model = TokensFirst(norm=lambda width: nn.Linear(width, width))
    with pytest.raises(MethodError, match=r"gradcam isn't defined for TokensFirst: no normalisation layer"):
        vitcam.explain(model, torch.randn(1, 3, 32, 32), "gradcam")


def test_norm_that_does_not_fit_the_grid():
    class OfOneToken(Block):
        def forward(self, x):
            return x + self.attention(x, x, x)[0] + self.before(x[:, :1])

    model = TokensFirst(batch_first=True)
    model.blocks = nn.Sequential(*(OfOneToken(nn.LayerNorm, batch_first=True) for _ in range(2)))
    message = r"gradcam isn't defined for TokensFirst: .* gives \(1, 12\) per image, .* couldn't be confirmed"
    with pytest.raises(MethodError, match=message):
        vitcam.explain(model, torch.randn(1, 3, 32, 32), "gradcam")


def test_alone_it_needs_a_gradient_through_the_last_block_only():
    """No graph is kept of what comes before the norm."""
    model, images, graphs = model_of("timm vit"), images_of("timm vit", 1), []
    hooks = [
        block.register_forward_hook(lambda m, a, out: graphs.append(out.grad_fn)) for block in model.blocks
    ]
    try:
        vitcam.explain(model, images, "gradcam")  # with what must be found out first
        graphs.clear()
        vitcam.explain(model, images, "gradcam")
    finally:
        for hook in hooks:
            hook.remove()
    assert [grad_fn is None for grad_fn in graphs] == [True, True, True, False]
