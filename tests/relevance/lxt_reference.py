"""Run as a script: relevance by pip ``lxt`` (which patches classes for good) on models with random weights.

In double precision, so that what is compared is the method and not one processor's rounding.

Usage: python lxt_reference.py OUTPUT.safetensors (torchvision | hugging_face)
"""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

import torch
from relevance_models import hugging_face_vit, random_images, torchvision_vit
from safetensors.torch import save_file


def let_lxt_import() -> None:
    """lxt 2.1 imports language models from places where transformers 5 no longer has them; none is needed here."""
    for name in ("llama", "qwen2", "qwen3", "gemma3", "bert", "gpt2"):
        module = ModuleType(f"lxt.efficient.models.{name}")
        setattr(module, f"modeling_{name}", module)
        module.attnLRP = {}  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module


def input_times_gradient(model: torch.nn.Module) -> torch.Tensor:
    x = random_images().double().requires_grad_()
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
    model = torchvision_vit().double()
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
    model = hugging_face_vit().double()
    results = {"epsilon": input_times_gradient(model)}
    kinds = {name: type(module) for name, module in model.named_modules()}
    convolutions = [name for name, kind in kinds.items() if kind is torch.nn.Conv2d]
    linear = [name for name, kind in kinds.items() if kind is torch.nn.Linear and ".attention." not in name]
    composite = NameMapComposite([(convolutions, Gamma(0.25)), (linear, Gamma(0.05))])
    with composite.context(model) as hooked:
        results["gamma"] = input_times_gradient(hooked)
    return results


CANNOT_IMPORT = 3

if __name__ == "__main__":
    let_lxt_import()
    try:
        import lxt.efficient  # noqa: F401
        import zennit  # noqa: F401
    except ImportError as error:
        print(f"lxt can't be imported here: {error}", file=sys.stderr)
        sys.exit(CANNOT_IMPORT)
    save_file(
        {"torchvision": torchvision_results, "hugging_face": hugging_face_results}[sys.argv[2]](), sys.argv[1]
    )
