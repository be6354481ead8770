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
    _multiply_by_one_matrix(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph.eval()


def _multiply_by_one_matrix(graph: fx.Graph) -> None:
    """Products with copies of one matrix, one for each entry of a batch, become products with that matrix.

    So torch carries out a linear layer whose input is (tokens, batch, dim), as that of ``nn.MultiheadAttention``:
    a copy of the weight for each token would take a GiB in a ViT-B, and most of the time.
    """
    for node in graph.nodes:
        if node.target is torch.ops.aten.bmm.default and (matrix := _copied(node.args[1])) is not None:
            node.target = torch.ops.aten.matmul.default
            node.args = (node.args[0], matrix)


def _copied(node: fx.Node) -> fx.Node | None:
    """The matrix that all of a batch of matrices are; None if they aren't known to be one."""
    shape = node.meta["val"].shape[1:]
    while node.target in (torch.ops.aten.view.default, torch.ops.aten.expand.default):
        node = node.args[0]  # type: ignore[assignment]  # what these two take first is a node
        found = node.meta["val"].shape
        if len(found) == 2:
            return node if all(type(size) is int for size in found) and found == shape else None
    return None


def _gradients() -> dict[Any, Any]:
    """What the gradients of operators are made of. ONNX has hardly any of them as one operator."""
    known = torch.export.default_decompositions()
    return {operator: known[operator] for operator in known if "backward" in str(operator)}
