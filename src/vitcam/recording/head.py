"""Which tokens a model's head reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import AttentionCall
from vitcam.recording.gradients import gradients
from vitcam.recording.interception import intercept
from vitcam.recording.layout import Layout
from vitcam.recording.onednn import fast_linear
from vitcam.recording.passes import Pass
from vitcam.recording.score import Scorer


@dataclass(frozen=True)
class Head:
    """What the head reads of one stream of tokens.

    Attributes:
        rows: (tokens,) the share of each token: equal among those that the head reads after the last block, 0
            elsewhere. All 0 if the output depends on none of them. Where scores of images, or of targets, read other
            tokens, such as that of an object's query, (batch, targets, tokens).
        pools: whether it reads the tokens through an attention of its own.
    """

    rows: Float[Tensor, "*each tokens"]
    pools: bool


def heads_of(model: nn.Module, images: Tensor, layout: Layout, run: Pass, scorer: Scorer) -> tuple[Head, ...]:
    """What the head reads of each stream, by the gradient that comes back from it.

    Args:
        model, layout: the model and its structure.
        images: those of the pass.
        run: a pass that gradients go back through.
        scorer: the scores.
    """
    reached = [
        (layer, (gradient != 0).any(dim=-1).any(dim=2))
        for layer, gradient in zip(run.layers, gradients(run, scorer), strict=True)
    ]
    heads = []
    for number, stream in enumerate(layout.streams):
        of_stream = [(layer, rows) for layer, rows in reached if layer.stream == number]
        last = [rows for layer, rows in of_stream if not layer.pooling][-1]
        each = last.new_zeros(*last.shape[:2], stream.tokens, dtype=torch.float32)
        each[..., : last.shape[-1]] = last.float()
        shares = each.amax(dim=(0, 1))
        pools = any(bool(rows.any()) for layer, rows in of_stream if layer.pooling)
        if not shares.any() and not pools:
            # The gradient is cut on the way, or the output depends on nothing: what is read shows without it, too.
            shares = _read_without_gradient(model, images, layout, number, scorer)
        elif not pools and _reads_others(model, images, layout, number, scorer, shares):
            shares[stream.grid.patches] = 1.0
        elif not bool((each == shares).all()):
            shares = each
        heads.append(Head(shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-12), pools))
    return tuple(heads)


def _reads_others(
    model: nn.Module, images: Tensor, layout: Layout, stream: int, scorer: Scorer, read: Tensor
) -> bool:
    """Whether the output depends on patches that no gradient comes back to, where it comes back to some.

    So it is where the head takes the largest of the patches: which those are depends on the image.
    """
    grid = layout.streams[stream].grid
    others = torch.zeros_like(read, dtype=torch.bool)
    others[grid.patches] = read[grid.patches] == 0
    if not others.any() or int(others.sum()) == grid.tokens:
        return False
    return _changes(model, images, layout, stream, scorer, others)


def _changes(
    model: nn.Module, images: Tensor, layout: Layout, stream: int, scorer: Scorer, changed: Tensor
) -> bool:
    """Whether the scores change with what the last layer answers some of a stream's tokens."""
    outputs = [scorer(read_pass(model, images, layout, stream, some)) for some in (None, changed)]
    return bool((outputs[0] - outputs[1]).abs().max() > 1e-5 * outputs[0].abs().max())


def _read_without_gradient(
    model: nn.Module, images: Tensor, layout: Layout, stream: int, scorer: Scorer
) -> Float[Tensor, " tokens"]:
    """Which tokens of a stream the head reads: those whose last answer can't be changed without changing the output.

    Raises:
        ModelError: it reads some patches and not others.
    """
    tokens, grid = layout.streams[stream].tokens, layout.streams[stream].grid
    patches = torch.zeros(tokens, dtype=torch.bool)
    patches[grid.patches] = True
    shares = torch.zeros(tokens, device=images.device)
    for changed in _sets(patches):
        if _changes(model, images, layout, stream, scorer, changed):
            shares[changed] = 1.0
    read = shares[patches].sum()
    if 0 < read < patches.sum():
        raise ModelError(
            f"which tokens the head of {type(model).__name__} reads couldn't be told: no gradient comes back to "
            "them, and it reads some patches and not others"
        )
    return shares


def _sets(patches: Tensor) -> Iterator[Tensor]:
    """The sets of tokens to change: each token of no place alone, and the patches in four parts."""
    for token in (~patches).nonzero().flatten():
        alone = torch.zeros_like(patches)
        alone[token] = True
        yield alone
    numbers = patches.cumsum(0) % 4
    for part in range(4):
        if bool((some := patches & (numbers == part)).any()):
            yield some


def read_pass(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    layout: Layout,
    stream: int,
    changed: Bool[Tensor, " tokens"] | None,
) -> Any:
    """The model's output when the last layer of a stream answers some of its tokens otherwise."""
    last = [index for index, site in enumerate(layout.calls) if site.stream == stream and not site.pools][-1]
    sites = iter(range(len(layout.calls)))

    def attend(call: AttentionCall) -> Tensor:
        output = call.run()
        if next(sites) == last and changed is not None:
            rows = changed[: output.shape[-2]].to(output.device)[:, None]
            output = output + rows * output.std()
        return output

    with torch.no_grad(), fast_linear(), intercept(attend, eager=layout.eager):
        return model(images)
