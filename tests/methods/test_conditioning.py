"""Every method in fp32, in bf16 and on a bf16 model, against the same weights in double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import vitcam
from vitcam.errors import MethodError
from vitcam.methods import METHODS
from vitcam.photos import photo_path

OPTIONS = {
    "captum:IntegratedGradients": {"n_steps": 4},
    "captum:GradientShap": {"n_samples": 4},
    "captum:SmoothGrad": {"n_samples": 4},
}
# Those of many passes are the forward pass, hundreds of times; the controls don't look at the model. What these two
# divide by can nearly cancel (docs/limits.md).
ILL_CONDITIONED = ("gradcam++", "xgradcam")
NAMES = sorted(
    name
    for name, method in METHODS.items()
    if name in OPTIONS
    or not (method.many_passes or name in ("ablationcam", "random", "center", *ILL_CONDITIONED))
)
OWN_PRECISION = ("lrp", "attnlrp", "fullgrad")
# In another precision they draw other numbers, so that they are held to single precision.
DRAWING = ("captum:GradientShap", "captum:SmoothGrad")


Copies = dict[tuple[torch.dtype, ...], nn.Module]


@pytest.fixture(scope="module")
def photographs() -> tuple[Copies, Tensor, Tensor]:
    """The embedded model in other precisions, two photographs (lrp is at its worst on the second), and their classes.

    All methods share the copies, of which each is measured only once.
    """
    model = vitcam.load_model("embedded:photo")
    images = model.preprocess([photo_path("cat"), photo_path("cup")])
    single, double, half = torch.float32, torch.float64, torch.bfloat16
    copies = {
        dtypes: copy.deepcopy(model.module)
        for dtypes in ((single,), (double,), (half,), (half, single), (half, double))
    }
    for dtypes, module in copies.items():
        for dtype in dtypes:
            module.to(dtype)
    with torch.no_grad():
        return copies, images, copies[single,].eval()(images).argmax(1)


def maps_of(method: str, model: nn.Module, images: Tensor, targets: Tensor, **options: object) -> Tensor:
    given = {**OPTIONS.get(method, {}), **options}
    return vitcam.explain(model, images, method, targets=targets, **given).heatmaps.double().flatten(1)


def distance(maps: Tensor, exact: Tensor) -> float:
    return float(((maps - exact).abs().amax(1) / exact.abs().amax(1)).max())


def correlation(maps: Tensor, exact: Tensor) -> float:
    return min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(maps, exact, strict=True))


@pytest.mark.parametrize("method", NAMES)
def test_near_double_precision(photographs, method: str) -> None:
    copies, images, targets = photographs
    model, in_bf16 = copies[torch.float32,], copies[torch.bfloat16,]
    exactly = torch.float32 if method in DRAWING else torch.float64
    exact = maps_of(method, copies[exactly,], images.to(exactly), targets)
    if method not in DRAWING:  # whose draws are the same
        assert distance(maps_of(method, model, images, targets), exact) < 1e-3
    if method in OWN_PRECISION:
        with pytest.raises(MethodError, match=rf"{method}.* computes in float"):
            maps_of(method, model, images, targets, precision="bf16")
    else:
        assert correlation(maps_of(method, model, images, targets, precision="bf16"), exact) > 0.99

    exact = maps_of(method, copies[torch.bfloat16, exactly], images.bfloat16().to(exactly), targets)
    found = maps_of(method, in_bf16, images.bfloat16(), targets)
    assert correlation(found, exact) > 0.99
    if method in OWN_PRECISION or method.startswith("captum:"):
        assert distance(found, exact) < 1e-3
