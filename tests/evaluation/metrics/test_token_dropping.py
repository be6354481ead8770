from __future__ import annotations

import naive_metrics as naive
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torchvision.models import VisionTransformer as TorchvisionViT

from vitcam.errors import ImageError, MetricError, ModelError
from vitcam.evaluation.metrics.token_dropping import token_dropping_curves
from vitcam.types import PatchGrid

GRID = PatchGrid(height=4, width=3, prefix=1)


def _with_tokens(model, image, patches: list[int]) -> torch.Tensor:
    """The model's parts, one after the other, on the class token and some patches."""
    with torch.no_grad():
        tokens = model.patch_embed(image[None])
        tokens = torch.cat([model.cls_token, tokens], dim=1) + model.pos_embed
        tokens = tokens[:, [0, *[1 + patch for patch in patches]]]
        return model.head(model.norm(model.blocks(tokens))[:, 0]).softmax(-1)[0]


@pytest.mark.parametrize("batch_size", [2, 16])
def test_equals_a_naive_version(case, batch_size):
    steps = 5
    curves = token_dropping_curves(
        case.model,
        case.model.blocks[0],
        GRID,
        case.images,
        case.heatmaps,
        case.targets,
        steps,
        batch_size=batch_size,
    )
    for i in range(3):
        order = naive.order(case.heatmaps[i].flatten().tolist())
        for step in range(steps + 1):
            k = 12 * step // steps
            for curve, kept in ((curves.morf, order[k:]), (curves.lerf, order[: 12 - k])):
                expected = _with_tokens(case.model, case.images[i], sorted(kept))[case.targets[i]]
                assert curve[i, step].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_blocks_really_see_fewer_tokens(case):
    lengths = []
    case.model.blocks[1].register_forward_hook(lambda module, args, output: lengths.append(output.shape[1]))
    token_dropping_curves(
        case.model, case.model.blocks[0], GRID, case.images, case.heatmaps, case.targets, steps=3
    )
    assert lengths == [13, 9, 5, 1]


def test_the_first_point_is_the_untouched_image(case):
    curves = token_dropping_curves(
        case.model, case.model.blocks[0], GRID, case.images, case.heatmaps, case.targets
    )
    for i in range(3):
        expected = case.probability(case.images[i], case.targets[i])
        assert curves.morf[i, 0].item() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(curves.morf[:, [0, -1]], curves.lerf[:, [0, -1]])


def test_torchvisions_vit():
    torch.manual_seed(0)
    model = TorchvisionViT(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    torch.nn.init.normal_(model.heads.head.weight)
    images, heatmaps = torch.rand(2, 3, 32, 32), torch.rand(2, 4, 4)
    curves = token_dropping_curves(
        model,
        model.encoder.layers[0],
        PatchGrid(height=4, width=4, prefix=1),
        images,
        heatmaps,
        torch.tensor([1, 2]),
    )
    with torch.no_grad():
        whole = model(images).softmax(-1)
    assert curves.morf[:, 0].tolist() == pytest.approx([whole[0, 1].item(), whole[1, 2].item()], abs=1e-6)
    assert (curves.morf[:, 1:-1] != curves.lerf[:, 1:-1]).any()


@pytest.mark.parametrize("fail", [False, True])
def test_the_hook_goes_away(case, fail):
    def run():
        token_dropping_curves(
            case.model, case.model.blocks[0], GRID, case.images, case.heatmaps, case.targets
        )

    if fail:
        hook = case.model.blocks[1].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
        hook.remove()
    else:
        run()
    assert not case.model.blocks[0]._forward_pre_hooks
    assert not case.model.blocks[0]._forward_pre_hooks_with_kwargs


def test_models_that_need_the_whole_grid_are_refused():
    model = timm.create_model(
        "eva02_tiny_patch14_224", img_size=28, embed_dim=32, depth=2, num_heads=2, num_classes=3
    )
    with pytest.raises(ModelError, match=r"failed with 1 of its 5 tokens.*(?s:.*)road_curves"):
        token_dropping_curves(
            model,
            model.blocks[0],
            PatchGrid(height=2, width=2, prefix=1),
            torch.rand(1, 3, 28, 28),
            torch.rand(1, 2, 2),
            torch.tensor([0]),
            steps=1,
        )
    assert not model.blocks[0]._forward_pre_hooks


def test_says_what_is_wrong(case):
    def run(block, grid, heatmaps=case.heatmaps):
        token_dropping_curves(case.model, block, grid, case.images, heatmaps, case.targets)

    with pytest.raises(ModelError, match=r"no tensor of 3×14 tokens came to the Block"):
        run(case.model.blocks[0], PatchGrid(height=4, width=3, prefix=2))
    with pytest.raises(ModelError, match="expected a model with a class token"):
        run(case.model.blocks[0], PatchGrid(height=4, width=3, prefix=0))
    with pytest.raises(MetricError, match="patch grid of 4×3, got 32×24: give"):
        run(case.model.blocks[0], GRID, torch.rand(3, 32, 24))
    with pytest.raises(ImageError, match="finite"):
        run(case.model.blocks[0], GRID, case.heatmaps * torch.nan)


def test_registers_are_never_dropped():
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3, reg_tokens=2
    )
    seen = []
    model.blocks[1].register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    token_dropping_curves(
        model,
        model.blocks[0],
        PatchGrid(height=2, width=2, prefix=3),
        torch.rand(1, 3, 16, 16),
        torch.rand(1, 2, 2),
        torch.tensor([0]),
        steps=2,
    )
    assert seen == [7, 5, 3]
