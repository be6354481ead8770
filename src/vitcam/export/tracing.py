"""From a model that is run to a graph of operators without autograd, its batch size left open."""

from __future__ import annotations

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
        graph = make_fx(model, tracing_mode="real")(fake)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph.eval()
