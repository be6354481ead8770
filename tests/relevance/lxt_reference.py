"""Run as a script: relevance by pip ``lxt`` (which patches classes for good) on models with random weights.

Usage: python lxt_reference.py OUTPUT.safetensors (torchvision | hugging_face)
"""

from __future__ import annotations

import sys
from functools import partial
from unittest.mock import MagicMock

import torch
from relevance_models import hugging_face_vit, random_images, torchvision_vit
from safetensors.torch import save_file


def let_lxt_import() -> None:
    """lxt imports every language model that it knows, each by what transformers' releases keep moving.

    None of them is asked for here, so each is stood in for, whatever transformers still has.
    """
    for name in ("llama", "qwen2", "qwen3", "gemma3", "bert", "gpt2"):
        sys.modules[f"lxt.efficient.models.{name}"] = MagicMock()


def input_times_gradient(model: torch.nn.Module) -> torch.Tensor:
    x = random_images().requires_grad_()
    output = model(x)
    scores = getattr(output, "logits", output)[:, 3]
    (gradient,) = torch.autograd.grad(scores.sum(), x)
    return (x * gradient).detach()


def torchvision_results() -> dict[str, torch.Tensor]:
    """What lxt does for torchvision: CP-LRP in attention, with and without the γ rule of its example."""
    from lxt.efficient import monkey_patch, monkey_patch_zennit
    from torchvision.models import vision_transformer
    from zennit.composites import LayerMapComposite
    from zennit.rules import Gamma

    monkey_patch(vision_transformer)
    monkey_patch_zennit()
    model = torchvision_vit()
    results = {"epsilon": input_times_gradient(model)}
    composite = LayerMapComposite([(torch.nn.Conv2d, Gamma(0.25)), (torch.nn.Linear, Gamma(0.05))])
    with composite.context(model) as hooked:
        results["gamma"] = input_times_gradient(hooked)
    return results


def hugging_face_results() -> dict[str, torch.Tensor]:
    """AttnLRP as in the paper, put together from lxt's parts; the γ rule outside attention only (Table 4)."""
    from lxt.efficient import monkey_patch, monkey_patch_zennit
    from lxt.efficient.patches import (
        layer_norm_forward,
        non_linear_forward,
        patch_method,
        wrap_attention_forward,
    )
    from transformers.activations import GELUActivation
    from transformers.models.vit import modeling_vit
    from zennit.composites import NameMapComposite
    from zennit.rules import Gamma

    patches = {
        GELUActivation: partial(patch_method, non_linear_forward, keep_original=True),
        torch.nn.LayerNorm: partial(patch_method, layer_norm_forward),
    }
    monkey_patch(modeling_vit, patches)
    monkey_patch_zennit()
    functions = modeling_vit.ALL_ATTENTION_FUNCTIONS
    functions.register("sdpa", wrap_attention_forward(functions["sdpa"]))
    model = hugging_face_vit()
    results = {"epsilon": input_times_gradient(model)}
    kinds = {name: type(module) for name, module in model.named_modules()}
    convolutions = [name for name, kind in kinds.items() if kind is torch.nn.Conv2d]
    linear = [name for name, kind in kinds.items() if kind is torch.nn.Linear and ".attention." not in name]
    composite = NameMapComposite([(convolutions, Gamma(0.25)), (linear, Gamma(0.05))])
    with composite.context(model) as hooked:
        results["gamma"] = input_times_gradient(hooked)
    return results


if __name__ == "__main__":
    let_lxt_import()
    save_file(
        {"torchvision": torchvision_results, "hugging_face": hugging_face_results}[sys.argv[2]](), sys.argv[1]
    )
