"""Regions of models whose masks come from queries or prompts: MaskFormer, Mask2Former, SAM's mask decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import joint_models as joint
import pytest
import torch
from torch import Tensor

import vitcam
from vitcam.errors import MethodError
from vitcam.types import Box

SIDE = 64
IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
POINTS = torch.tensor([[[[20.0, 30.0]]], [[[50.0, 12.0]]]])


def of_queries(output, box):
    """The mean over a box of the segmentation, as transformers makes it of queries, of class 1; pixel by pixel."""
    left, top, right, bottom = (
        int(side * output.masks_queries_logits.shape[-1] / SIDE) for side in tuple(box)
    )
    total = 0
    for query in range(output.class_queries_logits.shape[1]):
        sure = output.class_queries_logits[:, query].softmax(dim=-1)[:, 1]
        mask = output.masks_queries_logits[:, query, top:bottom, left:right].sigmoid().mean(dim=(1, 2))
        total = total + sure * mask
    return total


def of_prompts(output, box):
    """Mask 1 of SAM's three."""
    scale = output.pred_masks.shape[-1] / SIDE
    left, top, right, bottom = (int(side * scale) for side in tuple(box))
    return output.pred_masks[:, 0, 1, top:bottom, left:right].mean(dim=(1, 2))


@dataclass(frozen=True)
class Case:
    build: Callable[[], torch.nn.Module]
    score: Callable[[Any, Box], Tensor]
    inputs: dict[str, Tensor] = field(default_factory=dict)


CASES = {
    "MaskFormerForInstanceSegmentation": Case(joint.maskformer, of_queries),
    "Mask2FormerForUniversalSegmentation": Case(joint.mask2former, of_queries),
    "SamModel": Case(joint.sam, of_prompts, {"input_points": POINTS}),
}
BOX = Box(16, 32, 48, 64)


@pytest.mark.parametrize("name", CASES)
def test_a_region_is_followed_one_by_one_and_together_and_the_model_is_left_alone(name):
    case = CASES[name]
    model, region = case.build(), vitcam.region(1, box=BOX)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    methods = ["occlusion(size=1)", "captum:Saliency"]
    together = vitcam.compare(model, IMAGES, methods, region, inputs=case.inputs)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    alone = vitcam.compare(model, IMAGES, methods, region, inputs=case.inputs, batch_size=1)
    for method, e in together.items():
        scale = float(e.heatmaps.abs().max())
        torch.testing.assert_close(alone[method].heatmaps, e.heatmaps, rtol=1e-2, atol=1e-3 * scale)

    rows, columns = together["occlusion(size=1)"].heatmaps.shape[2:]
    height, width = SIDE // rows, SIDE // columns
    painted = IMAGES.clone()
    painted[:, :, height : 2 * height, width : 2 * width] = 0
    leaf = IMAGES.clone().requires_grad_()
    values = case.score(model(pixel_values=leaf, **case.inputs), BOX)
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    with torch.no_grad():
        lost = values - case.score(model(pixel_values=painted, **case.inputs), BOX)
    found = together["occlusion(size=1)"].heatmaps[:, 0, 1, 1]
    torch.testing.assert_close(
        found, lost.detach(), rtol=1e-2, atol=1e-5 * float(values.detach().abs().max())
    )
    expected = gradient.abs().sum(dim=1).unfold(1, height, height).unfold(2, width, width).mean(dim=(3, 4))
    magnitude = together["captum:Saliency"].heatmaps[:, 0]
    torch.testing.assert_close(magnitude, expected, rtol=1e-2, atol=1e-3 * float(expected.max()))
    answered = [row[0].value for row in together["captum:Saliency"].answered]
    assert answered == pytest.approx(values.tolist(), rel=1e-3)
    with pytest.raises(MethodError, match=f"gae isn't defined for {name}: .* Methods that work on it: "):
        vitcam.explain(model, IMAGES, "gae", region, inputs=case.inputs)
