"""A model's forward pass, traced so that relevance and gradients can be sent back through it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vitcam.errors import MethodError
from vitcam.methods.relevance.attention import AttentionLayer
from vitcam.methods.relevance.precise import at_least
from vitcam.methods.relevance.propagation import Carrier, Propagation
from vitcam.methods.relevance.rules import RuleSet


@dataclass(frozen=True)
class Trace:
    """A forward pass through which relevance and gradients can be sent back, as often as wanted.

    Attributes:
        images: what it was given, in the graph.
        output: what the model gave.
        attentions: the attention layers, in the order of the calls.
        carrier: what a backward pass carries.
    """

    images: Float[Tensor, "batch ..."]
    output: Any
    attentions: tuple[AttentionLayer, ...]
    carrier: Carrier

    def relevance(self, scores: Float[Tensor, " batch"], at: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The messages of the rule set that arrive at tensors of the forward pass.

        They start at ``output`` with the gradient of the scores: 1 at the logit of each image's target.

        Args:
            scores: one score per image, computed from ``output``.
            at: for example ``[layer.output for layer in trace.attentions]``.

        Raises:
            MethodError: the scores don't depend on ``output``, or the model overwrites a tensor in place that a
                rule needs.
        """
        return self._backward(scores, at, ordinary=False)

    def gradient(self, scores: Float[Tensor, " batch"], at: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The ordinary gradients of the scores, through the same forward pass."""
        return self._backward(scores, at, ordinary=True)

    def _backward(self, scores: Tensor, at: Sequence[Tensor], ordinary: bool) -> tuple[Tensor, ...]:
        if not scores.requires_grad:
            leaves = [leaf for leaf in tree_leaves(self.output) if isinstance(leaf, Tensor)]
            if leaves and not any(leaf.requires_grad for leaf in leaves):
                raise MethodError(
                    "the model cuts gradients between the images and its output itself (torch.no_grad, detach, or a "
                    "function without a gradient, such as int8 layers), so that no relevance comes back to them. "
                    "attention and rollout need none and work on it"
                )
            raise MethodError(
                "the scores aren't connected to the trace's output; compute them from it with gradients enabled "
                "(not under torch.no_grad), and from what depends on the images"
            )
        self.carrier.ordinary = ordinary
        with torch.inference_mode(False):
            return torch.autograd.grad(
                scores.sum(), list(at), retain_graph=True, allow_unused=True, materialize_grads=True
            )


def trace(
    model: nn.Module,
    images: Float[Tensor, "batch ..."],
    rules: RuleSet,
    start_layer: int | None = None,
    precision: torch.dtype = torch.float32,
) -> Trace:
    """Runs a model forward so that relevance can be sent back through it.

    The model is left as it was; its parameters don't require a gradient for the duration. It should be in
    evaluation mode, and its attention fused.

    Args:
        model: any model made of operations that the rule set knows.
        images: what the model takes.
        rules: the rule set, e.g. ``CHEFER``.
        start_layer: from which attention layer on relevance is wanted (0: all); nothing is kept below it, and
            the ``output`` of that layer and those above is where to ask for it. None: relevance is wanted at
            the trace's ``images``.
        precision: of the values, unless the model's or the images' own is higher; the model isn't touched.

    Raises:
        MethodError: the model uses a function for which the set has no rule, or overwrites a tensor that a rule
            needs.

    Example:
        >>> from vitcam.methods.relevance.chefer import CHEFER
        >>> traced = trace(model, images, CHEFER, start_layer=0)
        >>> layers = [layer.output for layer in traced.attentions]
        >>> len(traced.relevance(traced.output[:, 281], layers))
        12
    """
    propagation = Propagation(rules, images.shape[0], start_layer)
    with torch.inference_mode(False), torch.enable_grad(), frozen(model), at_least(precision), propagation:
        images = images.to(torch.promote_types(images.dtype, precision)).clone().detach().requires_grad_()
        output = model(images.clone())
        propagation.refuse_unseen(output)
    return Trace(images, output, tuple(propagation.attentions), propagation.carrier)


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside the ``with`` no parameter requires a gradient; afterwards each does what it did."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
