"""From a model that is run to a graph of operators without autograd, its batch size left open."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn


def trace(model: nn.Module, images: Tensor) -> fx.GraphModule:
    """The operators that a model carries out on images, gradients included, for any batch size.

    Args:
        model: from images to a tuple of tensors; it may call ``torch.autograd.grad``.
        images: of the height and width that the graph is to have.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    sizes = [DimDynamic.DYNAMIC, DimDynamic.STATIC, DimDynamic.STATIC, DimDynamic.STATIC]
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(images, symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))
        graph = make_fx(model, decomposition_table=_gradients())(fake)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph.eval()


def _gradients() -> dict[Any, Any]:
    """What the gradients of operators are made of. ONNX has hardly any of them as one operator."""
    known = torch.export.default_decompositions()
    return {operator: known[operator] for operator in known if "backward" in str(operator)}
