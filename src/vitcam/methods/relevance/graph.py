"""What an autograd graph tells of functions that a context of torch functions doesn't see.

A custom ``torch.autograd.Function``, a scripted function or a library's own C++ writes into the graph without
asking: what comes back through it is its gradient, not a message by any rule.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from vitcam.methods.relevance.names import STRUCTURAL_NODES


def unseen_node(tensor: Tensor, known: set[Any]) -> str | None:
    """The name of a node above a tensor that neither is ruled nor only moves values; None if there is none.

    Args:
        tensor: in the graph.
        known: the nodes that were looked at; those found good are added.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> unseen_node(x.view(2, 1), set()), unseen_node(x.sin(), set())
        (None, 'SinBackward0')
    """
    waiting = [tensor.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in known:
            continue
        ruled = hasattr(node, "call")
        if not ruled and not _only_moves(node):
            name: str = node.name()
            return name
        known.add(node)
        if not ruled:  # above a ruled one, all was looked at when it was made
            waiting += [above for above, _ in node.next_functions]
    return None


def _only_moves(node: Any) -> bool:
    if isinstance(node, BackwardCFunction):  # written in Python, and may be called anything
        return False
    stem = node.name().rstrip("0123456789").removeprefix("torch::autograd::")
    return stem.removesuffix("Backward") in STRUCTURAL_NODES
