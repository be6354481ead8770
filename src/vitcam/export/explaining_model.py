"""A model that answers with logits, targets and heatmaps, written so that it can be traced into a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.export.maps import EXPORTABLE, FORWARD_ONLY, WITH_GRADIENTS, Layer
from vitcam.methods.options import chosen_layers
from vitcam.recording import (
    AttentionCall,
    Facts,
    Linear,
    LinearRows,
    attention_scores,
    block_input,
    intercept,
    logits_of,
    prefix_arguments,
    with_head_dimension,
)

Choose = Callable[[Tensor], Tensor]


class ExplainingModel(nn.Module):
    """From images to (logits, targets, heatmaps), with every shape but the batch's fixed.

    What ``vitcam.explain`` does with the same method, but without its choices at run time: one pass over all
    tokens, and for a method with gradients a second one over the tokens that the head reads, whose linear
    layers are answered from the first.

    Args:
        model: in evaluation mode, its parameters frozen.
        known: what is known about it at this input size.
        method: one of ``EXPORTABLE``, with the options that are declared there.
        options: of the method; what isn't given is as by default.
        choose: from the logits (batch, classes) to the classes to explain (batch, targets).
    """

    def __init__(
        self, model: nn.Module, facts: Facts, method: str, options: Mapping[str, Any], choose: Choose
    ) -> None:
        super().__init__()
        self.model = model
        self.facts = facts
        self.method = method
        self.options = {name: value for name, value in options.items() if name in EXPORTABLE[method]}
        self.choose = choose
        grid = facts.layout.grid
        # A model that can't do with the prefix tokens alone is gone back through with all of them.
        self.rows = grid.prefix if facts.replays else facts.layout.tokens

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grid = self.facts.layout.grid
        if self.method in FORWARD_ONLY:
            with torch.no_grad():
                logits, layers = self._pass(images)
                targets = self.choose(logits)
                found = FORWARD_ONLY[self.method](layers, self.facts.head_rows, **self.options)
                found = found.expand(-1, targets.shape[1], -1)
        else:
            logits, targets, found = self._with_gradients(images)
        return logits, targets, found[..., grid.patches].unflatten(2, (grid.height, grid.width))

    def _with_gradients(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs: list[Tensor] = []
        layout = self.facts.layout

        def look(tokens: Tensor) -> Tensor:
            inputs.append(tokens[:, : self.rows])
            return tokens

        # What LinearRows keeps are the rows of the prefix tokens.
        linears = LinearRows(replace(layout, grid=replace(layout.grid, prefix=self.rows)), images.shape[0])
        with (
            torch.no_grad(),
            block_input(self.model, layout.blocks[0], images.shape[0], layout.tokens, look),
        ):
            logits, layers = self._pass(images, linears.record)
            targets = self.choose(logits)
        if not inputs:
            raise ModelError(
                f"{type(self.model).__name__} can't be exported: the tokens that go into its first block "
                f"({layout.blocks[0]}) weren't found"
            )
        gradients = self._gradients(images, inputs[0], layers, linears, targets)
        # A trace keeps of the gradients those that are used.
        options = {**self.options}
        chosen = chosen_layers(self.method, options.pop("layers", "all"), len(layers))
        compute = WITH_GRADIENTS[self.method]
        found = compute(
            [layers[index] for index in chosen], [gradients[index] for index in chosen], **options
        )
        return logits, targets, found

    def _pass(self, images: Tensor, linear: Linear = F.linear) -> tuple[Tensor, list[Layer]]:
        """The forward pass, and its attention layers but for those that the head doesn't read."""
        layers: list[Layer] = []
        callers = iter(self.facts.layout.callers)

        def attend(call: AttentionCall) -> Tensor:
            by_head = with_head_dimension(call, images.shape[0])
            scores = attention_scores(by_head)
            probabilities = scores.softmax(dim=-1)
            output = probabilities @ by_head.value
            if next(callers) not in self.facts.layout.pooling:
                layers.append(Layer(scores, probabilities, by_head.value, output))
            return output.reshape(*call.query.shape[:-1], output.shape[-1])

        with intercept(attend, linear=linear, eager=self.facts.layout.eager):
            return logits_of(self.model(images)), layers

    def _gradients(
        self,
        images: Tensor,
        tokens: Tensor,
        layers: list[Layer],
        linears: LinearRows,
        targets: Tensor,
    ) -> list[Tensor]:
        """∂y/∂O of every layer along the skip connections: (batch, targets, heads, rows, dim)."""
        (batch, count), layout = targets.shape, self.facts.layout
        leaves = [_repeated(layer.output[:, :, : self.rows], count).requires_grad_() for layer in layers]
        answers = iter(leaves)
        callers = iter(layout.callers)
        linears.rows[:] = [
            None if rows is None else _repeated(rows, count, 0 if rows.shape[0] == batch else 1)
            for rows in linears.rows
        ]

        def attend(call: AttentionCall) -> Tensor:
            if next(callers) in layout.pooling:
                return call.run()
            leaf = next(answers)
            return leaf.reshape(*call.query.shape[:-1], leaf.shape[-1])

        # What the model makes of the images in front of its first block isn't used, and no part of a trace.
        repeated, first = _repeated(images, count), layout.blocks[0]
        with (
            torch.enable_grad(),
            block_input(
                self.model, first, repeated.shape[0], layout.tokens, lambda _: _repeated(tokens, count)
            ),
            prefix_arguments(self.model, layout) if self.facts.replays else nullcontext(),
            intercept(attend, linear=linears.answers(), eager=layout.eager),
        ):
            logits = logits_of(self.model(repeated))
        scores = logits.gather(1, targets.reshape(-1, 1))
        found = torch.autograd.grad(scores.sum(), leaves, materialize_grads=True)
        return [gradient.unflatten(0, (batch, count)) for gradient in found]


def _repeated(tensor: Tensor, count: int, dim: int = 0) -> Tensor:
    """Every entry of a dimension ``count`` times in a row; the gradient ends here."""
    tensor = tensor.detach()
    if count == 1:
        return tensor.view_as(tensor)
    shape = [-1] * (tensor.dim() + 1)
    shape[dim + 1] = count
    return tensor.unsqueeze(dim + 1).expand(shape).flatten(dim, dim + 1)
