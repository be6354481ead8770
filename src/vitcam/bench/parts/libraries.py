"""How other libraries are told to explain: from a model and images to what does it once.

Each leaves the model as it was, since others are measured on it in turns.
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from vitcam.bench.subject import BenchSubject
from vitcam.recording import autocast, logits_of


def grad_cam(subject: BenchSubject, images: Tensor) -> Callable[[], object]:
    """pip ``grad-cam``: GradCAM on the first norm of timm's last block, with the usual reshape transform."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module: Any = subject.module
    targets = [ClassifierOutputTarget(target) for target in _predicted(subject, images)]
    layer = module.blocks[-1].norm1
    prefix: int = module.num_prefix_tokens
    rows, columns = module.patch_embed.dynamic_feat_size(images.shape[-2:])

    def reshape(tokens: Tensor) -> Tensor:
        grid: Tensor = tokens[:, prefix:].unflatten(1, (rows, columns))
        return grid.permute(0, 3, 1, 2)

    def run() -> object:
        with (
            autocast(images.device, subject.precision),
            GradCAM(model=module, target_layers=[layer], reshape_transform=reshape) as cam,
        ):
            maps = cam(input_tensor=images, targets=targets)
        module.zero_grad(set_to_none=True)
        return maps

    return run


def grad_cam_obstacle(subject: BenchSubject) -> str:
    """Why grad-cam isn't used with a model; "" if it is."""
    module = subject.module
    if hasattr(module, "blocks") and hasattr(module, "num_prefix_tokens"):
        return ""
    return f"this benchmark knows how to use grad-cam with timm's ViTs, not {type(module).__name__}"


def captum_saliency(subject: BenchSubject, images: Tensor) -> Callable[[], object]:
    """pip ``captum``: the gradient at the pixels."""
    from captum.attr import Saliency

    targets = torch.tensor(_predicted(subject, images), device=images.device)

    def scores(inputs: Tensor) -> Tensor:
        return logits_of(subject.module(inputs))

    def run() -> object:
        with autocast(images.device, subject.precision):
            return Saliency(scores).attribute(images.clone().requires_grad_(), target=targets)

    return run


def torchcam_legrad(subject: BenchSubject, images: Tensor) -> Callable[[], object]:
    """pip ``torchcam``: LeGrad on all blocks of torchvision's ViT."""
    from torchcam.methods import LeGrad

    module: Any = subject.module
    targets = _predicted(subject, images)

    def run() -> object:
        with (
            autocast(images.device, subject.precision),
            LeGrad(module, list(module.encoder.layers)) as extractor,
        ):
            module(images)
            return extractor(targets, normalized=False)

    return run


def lxt_relevance(subject: BenchSubject, images: Tensor) -> Callable[[], object]:
    """pip ``lxt``: input × gradient through torchvision's ViT, whose classes it patches."""
    _let_lxt_be_imported()
    from lxt.efficient import monkey_patch

    targets = torch.tensor(_predicted(subject, images), device=images.device)
    vision_transformer = sys.modules[type(subject.module).__module__]

    def run() -> object:
        with (
            _put_back(nn.GELU, nn.LayerNorm, nn.MultiheadAttention),
            autocast(images.device, subject.precision),
        ):
            monkey_patch(vision_transformer)
            pixels = images.clone().requires_grad_()
            logits = logits_of(subject.module(pixels))
            (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), pixels)
        return (pixels * gradient).sum(1)

    return run


def legrad_torch(subject: BenchSubject, images: Tensor) -> Callable[[], object]:
    """pip ``legrad_torch``: its wrapper around open_clip's image tower, of which it takes a copy."""
    from legrad import LeWrapper

    class Encoder(nn.Module):
        """As much of a CLIP as the wrapper asks for."""

        def __init__(self, visual: nn.Module) -> None:
            super().__init__()
            self.visual = visual

        def encode_image(self, images: Tensor) -> Any:
            return self.visual(images)

    module: Any = subject.module
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it begins and that it is done
        wrapped = LeWrapper(Encoder(copy.deepcopy(module.tower)))
    text = module.texts[:1]

    def run() -> object:
        with autocast(images.device, subject.precision):
            return wrapped.compute_legrad_clip(text_embedding=text, image=images)

    return run


def _predicted(subject: BenchSubject, images: Tensor) -> list[int]:
    classes: list[int] = logits_of(subject.forward(images)()).argmax(1).tolist()
    return classes


def _let_lxt_be_imported() -> None:
    """lxt 2.1 imports, for BERT only, helpers that transformers 5 no longer has."""
    module = import_module(
        "transformers.pytorch_utils"
    )  # lxt's own dependency; vitcam loads no model by it here
    for name in ("find_pruneable_heads_and_indices", "prune_linear_layer"):
        if not hasattr(module, name):
            setattr(module, name, None)


@contextlib.contextmanager
def _put_back(*classes: type) -> Iterator[None]:
    """Classes have their own attributes again afterwards."""
    before = {each: dict(vars(each)) for each in classes}
    try:
        yield
    finally:
        for each, attributes in before.items():
            for name in set(vars(each)) - set(attributes):
                delattr(each, name)
            for name, value in attributes.items():
                if vars(each)[name] is not value:
                    setattr(each, name, value)
