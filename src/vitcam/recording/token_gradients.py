"""Gradients of tokens between blocks, times these; and whether they add up to the score."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from vitcam.errors import ModelError
from vitcam.recording.features import FeatureNeed, own_gradients, wanted_of_pass
from vitcam.recording.gradients import Gradient, backward, gradient_of, refuse_in_place
from vitcam.recording.layout import Layout
from vitcam.recording.passes import Pass
from vitcam.recording.rules import Rules
from vitcam.recording.score import Scorer
from vitcam.recording.tokens import TokenPlaces

_TOLERANCE = 1e-4  # of the sum of absolute contributions; rounding was 1e-8 to 4e-8 of it on every family


@dataclass(frozen=True)
class TokenGradients:
    """Gradients of tokens between blocks, times what they belong to, summed over channels.

    Attributes:
        products: input × gradient, of the tokens that enter the first block and of those that leave each block.
        sizes: the same of absolute values; where a product is far smaller, its channels cancel out.
        biases: bias × gradient, of all biases behind the first block's input that are added to tokens, summed over
            them. None if they weren't asked for.
    """

    products: tuple[Float[Tensor, "batch targets tokens"], ...]
    sizes: tuple[Float[Tensor, "batch targets tokens"], ...]
    biases: Float[Tensor, "batch targets tokens"] | None


def gradients_of_pass(
    model: nn.Module,
    layout: Layout,
    run: Pass,
    scorer: Scorer,
    rules: Rules | None,
    features: Sequence[FeatureNeed],
    targets: Tensor,
    versus: Tensor | None,
    outputs: bool,
    biases: bool,
    retain_graph: bool,
) -> tuple[tuple[Gradient, ...] | None, dict[FeatureNeed, Tensor], TokenGradients | None]:
    """The gradients of attention outputs, of feature maps and of tokens between blocks, in one go.

    Args:
        model, layout, run, scorer, rules, biases, retain_graph: as of :func:`token_gradients`.
        features: the feature maps that are asked for.
        targets, versus: the classes.
        outputs: whether those of attention outputs are asked for.
    """
    of_layers = [layer.output for layer in run.layers] if outputs else []
    found = own_gradients(features, run, targets, versus)
    needs = [each for each in wanted_of_pass(features, run) if each.score is None]
    tensors = [*of_layers, *(run.features[each.point] for each in needs)]
    per_tensor, tokens = token_gradients(
        model, layout, run, scorer, rules, tensors, biases=biases, retain_graph=retain_graph
    )
    found |= zip(needs, per_tensor[len(of_layers) :], strict=True)
    return per_tensor[: len(of_layers)] if of_layers else None, found, tokens


def token_gradients(
    model: nn.Module,
    layout: Layout,
    run: Pass,
    scorer: Scorer,
    rules: Rules | None,
    tensors: Sequence[Tensor],
    *,
    biases: bool,
    retain_graph: bool,
) -> tuple[tuple[Float[Tensor, "batch targets ..."], ...], TokenGradients | None]:
    """∂score/∂tensor as of ``backward``, and the gradients of the tokens between blocks, times these.

    Args:
        model, layout: the model and its structure.
        run: a pass; without places that were recorded in it, there are no gradients of tokens.
        scorer: the scores.
        rules: those that the pass was made by, if any.
        tensors: (batch, …), from that pass.
        biases: whether what biases contribute to each token is asked for.
        retain_graph: whether there will be more gradients of this pass.

    Raises:
        ModelError: the rules are complete, and what they give for this model isn't; or biases are asked for of as
            many images as there are tokens.
    """
    if run.places is None:
        made = backward(scorer(run.output), tensors, retain_graph=retain_graph) if tensors else ()
        return made, None
    places, scores = run.places, scorer(run.output)
    batch, leaves = scores.shape[0], places.leaves
    between = [*leaves, *(kept for _, kept in places.returned)]
    found: list[list[Tensor]] = []
    each_products: list[list[Tensor]] = []
    each_sizes: list[list[Tensor]] = []
    each_biases: list[Tensor] = []
    for target in range(scores.shape[1]):
        again = retain_graph or target + 1 < scores.shape[1]
        with nullcontext([]) if run.ruled is None else run.ruled.biases() as shares:
            total = scores[:, target].sum()
            gradients = (
                gradient_of(total, [*tensors, *between], again)
                if total.requires_grad
                else [torch.zeros_like(tensor) for tensor in (*tensors, *between)]
            )
        found.append(list(gradients[: len(tensors)]))
        of_places = gradients[len(tensors) :]
        if rules is not None and rules.complete and total.requires_grad:
            expected = _linear_parts(run.output, scorer, target, scores)
            _check_complete(model, rules, layout, batch, expected, leaves, of_places[: len(leaves)], shares)
        if places.known(layout):
            both = _products(places, of_places, layout)
            each_products.append([product for product, _ in both])
            each_sizes.append([size for _, size in both])
            each_biases += [_by_token(shares, batch, layout)] if biases and run.ruled is not None else []
    if not each_products:
        return _by_target(found), None
    of_biases = torch.stack(each_biases, dim=1) if each_biases else None
    return _by_target(found), TokenGradients(_by_target(each_products), _by_target(each_sizes), of_biases)


def in_front(features: Sequence[FeatureNeed], run: Pass) -> tuple[FeatureNeed, ...]:
    """Feature maps from which the tokens come that enter the first block, where the graph of a pass began at these.

    Raises:
        ModelError: the model writes over values that a gradient needs.
    """
    tracked = {point: found for point, found in run.features.items() if found.requires_grad}
    if run.places is None or not run.places.early or not tracked:
        return ()
    sums = [tokens.sum() for tokens in run.places.early]
    try:
        reached = torch.autograd.grad(sums, [*tracked.values()], retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        refuse_in_place(error)
        raise
    points = {point for point, gradient in zip(tracked, reached, strict=True) if gradient is not None}
    return tuple(each for each in features if each.point in points)


def _by_target(found: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(each, dim=1) for each in zip(*found, strict=True))


def _products(
    places: TokenPlaces, gradients: Sequence[Tensor], layout: Layout
) -> list[tuple[Tensor, Tensor]]:
    """Input × gradient at each place, and its size, from the gradients there."""
    values = [places.leaves[0], *(kept for _, kept in places.returned)]
    found = []
    for number, (x, g) in enumerate(zip(values, gradients, strict=True)):
        dtype = torch.promote_types(x.dtype, torch.float32)
        product = x.detach().to(dtype) * g.to(dtype)
        both = product.sum(dim=-1).float(), product.abs().sum(dim=-1).float()
        found.append(both if number == 0 or not layout.tokens_first else (both[0].T, both[1].T))
    return found


def _by_token(shares: Sequence[Tensor], batch: int, layout: Layout) -> Float[Tensor, "batch tokens"]:
    """What the biases that are added to tokens contribute to each.

    Args:
        shares: one tensor for each bias, as of ``RuledPass.biases``. What has no axis of the tokens, such as the
            head's bias, belongs to none and is left out.
        batch: the number of images.
        layout: the structure.

    Raises:
        ModelError: there are as many images as tokens, so that the axes can't be told from each other.
    """
    tokens = layout.tokens
    if batch == tokens:
        raise ModelError(
            f"which axis is the images' and which the tokens' can't be told where there are {batch} of both; choose "
            "another batch_size"
        )
    total = torch.zeros(batch, tokens, device=shares[0].device if shares else None)
    for share in shares:
        if share.ndim > 1 and share.shape[0] == batch and share.shape[1:].count(tokens) == 1:
            by_image = share.movedim(1 + share.shape[1:].index(tokens), 1)
        elif share.shape[:2] == (tokens, batch):
            by_image = share.transpose(0, 1)
        else:
            continue
        total += by_image.float().flatten(2).sum(dim=2) if by_image.ndim > 2 else by_image.float()
    return total


def _check_complete(
    model: nn.Module,
    rules: Rules,
    layout: Layout,
    batch: int,
    expected: Sequence[Tensor],
    leaves: Sequence[Tensor],
    gradients: Sequence[Tensor],
    shares: Sequence[Tensor],
) -> None:
    """Makes sure that input × gradient and bias × gradient add up to the score, of each image.

    Of the whole batch where it can't be told which axis is the images'.

    Raises:
        ModelError: they don't.
    """
    parts = [x.detach().double() * g.double() for x, g in zip(leaves, gradients, strict=True)]
    parts += [share.double() for share in shares]
    of_parts = _by_image(parts, batch, either=layout.tokens_first)
    of_score = _by_image(expected, batch, either=False)
    if of_parts is None or of_score is None:
        of_parts, of_score = (torch.cat([x.flatten() for x in each])[None] for each in (parts, expected))
    found, due = of_parts.sum(dim=1), of_score.sum(dim=1)
    wrong = ~((found - due).abs() <= _TOLERANCE * (of_parts.abs().sum(dim=1) + due.abs()))
    if wrong.any():
        raise ModelError(
            f"rules={rules.name!r} doesn't fit {type(model).__name__}: input × gradient and bias × gradient should "
            f"add up to its score, but come to {float(found[wrong][0]):.4g} and not to {float(due[wrong][0]):.4g}. "
            "Something that it computes has no right rule (a norm or a gate of its own writing, say). Use "
            "rules='plain'"
        )


def _by_image(parts: Sequence[Tensor], batch: int, *, either: bool) -> Float[Tensor, "batch values"] | None:
    """The values of each image; None where some part has no axis that can be the images', or two that can.

    The first axis or the second is theirs, or the first is theirs and that of windows. ``either``: whether it may be
    the second where it may be the first.
    """
    rows = []
    for part in parts:
        if either and part.ndim > 1 and len(part) == batch == part.shape[1]:  # as many images as tokens
            return None
        if part.ndim > 1 and len(part) != batch and part.shape[1] == batch:
            rows.append(part.transpose(0, 1).flatten(1))
        elif part.ndim and len(part) % batch == 0:
            rows.append(part.reshape(batch, -1))
        else:
            return None
    return torch.cat(rows, dim=1)


def _linear_parts(
    output: Any, scorer: Scorer, target: int, scores: Float[Tensor, "batch targets"]
) -> list[Tensor]:
    """∂y/∂output · output, whose sum a gradient that goes back linearly adds up to; y itself of a logit."""
    copies = tree_map(lambda x: _leaf(x) if isinstance(x, Tensor) else x, output)
    leaves = [leaf for leaf in tree_leaves(copies) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if not leaves:  # an object whose inside isn't known, of which the logits were found
        return [scores[:, target].detach().double()]
    total = scorer(copies)[:, target].sum()
    gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    parts = [(x.detach() * g).double() for x, g in zip(leaves, gradients, strict=True)]
    return [part for part in parts if part.any()] or [torch.zeros_like(scores[:, target]).double()]


def _leaf(tensor: Tensor) -> Tensor:
    copy = tensor.detach().clone()
    return copy.requires_grad_() if copy.is_floating_point() else copy
