"""What can't be recorded is refused with the true reason, and what a model raises itself is explained."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

import vitcam
from small_models import HomemadeViT
from vitcam.errors import ImageError, ModelError
from vitcam.recording.running import check_tensor, explain_failure

IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))


class Member(nn.Module):
    def __init__(self):
        super().__init__()
        self.member, self.head = (
            torch.export.export(HomemadeViT().eval(), (IMAGES,)).module(),
            nn.Linear(5, 5),
        )

    def forward(self, images):
        return self.head(self.member(images))


@pytest.mark.parametrize(
    "build", [lambda: torch.export.export(HomemadeViT().eval(), (IMAGES,)).module(), Member]
)
@pytest.mark.parametrize("method", ["rollout", "agcam", "captum:Saliency"])
def test_exported_graphs(build, method):
    message = "a graph of torch.export can't be explained: .*Give the nn.Module that it was made from"
    with pytest.raises(ModelError, match=message):
        vitcam.explain(build(), IMAGES, method)


def test_graphs_of_torchs_functions_are_no_exported_ones():
    traced = nn.Sequential(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(5, 5), nn.ReLU())))
    maps = vitcam.explain(nn.Sequential(HomemadeViT().eval(), traced), IMAGES, "gae").heatmaps
    assert maps.shape == (2, 1, 4, 5)


def under_vmap(images, inside):
    members = [HomemadeViT().eval() for _ in range(2)]
    parameters, _ = stack_module_state(members)
    run = vmap(lambda weights: inside(functional_call(members[0], weights, (images,))), randomness="same")
    return run(parameters)


def test_a_tensor_under_vmap():
    def refused(tensor):
        with pytest.raises(ModelError, match=r"HomemadeViT runs its attention inside torch.func.vmap"):
            check_tensor(tensor, HomemadeViT())
        return tensor

    check_tensor(under_vmap(IMAGES, refused), HomemadeViT())


def raised_under_vmap():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

    try:
        under_vmap(IMAGES, Doubled.apply)
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (raised_under_vmap(), ModelError, "inside torch.func.vmap.*Explain each member on its own"),
        (
            RuntimeError("expected 3 channels"),
            ModelError,
            r"HomemadeViT itself failed on images of shape \(3, 32, 40\) \(torch.float32\): expected 3 channels. "
            "Give it images.*pass batch_size=1",
        ),
        (AssertionError(), ModelError, r"\(torch.float32\): AssertionError. Give"),
        (ImageError("as it was"), ImageError, "^as it was$"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "^CUDA out of memory$"),
    ],
)
def test_what_a_model_raises_itself(error, kind, message):
    with pytest.raises(kind, match=message):
        raise explain_failure(HomemadeViT(), IMAGES, error)
    assert "batch_size" not in str(explain_failure(HomemadeViT(), IMAGES[:1], error))
