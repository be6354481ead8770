"""The attention between several sequences of tokens, and which of these a score reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from vitcam.recording.attention import Attention
from vitcam.recording.gradients import Gradient, check_reached, gradients, why_unreached
from vitcam.recording.layout import Between
from vitcam.recording.passes import detached_pass, tracked_pass

if TYPE_CHECKING:
    from vitcam.recording.recording import Recording


@dataclass(frozen=True)
class Across:
    """Attention layers between several sequences of tokens, with the ordinary gradients of their answers.

    Attributes:
        tokens: how many there are in each sequence; the image's come first.
        calls: of each layer the sequences of its queries and keys.
        layers: in the order of the calls.
        gradients: ∂y/∂O of each.
        rows: per sequence, the share of each token in what the score of each image and target reads of it after the
            last layer; all 0 where it reads none.
    """

    tokens: tuple[int, ...]
    calls: tuple[Between, ...]
    layers: tuple[Attention, ...]
    gradients: tuple[Gradient, ...]
    rows: tuple[Float[Tensor, "batch targets _tokens"], ...]


def attention_across(recording: Recording) -> Across:
    """Runs a recorded model once more, for the attention between all of its sequences.

    Raises:
        ModelError: the score depends on no attention.
    """
    layout = recording.layout
    if not layout.sequences:
        assert recording.gradients is not None
        assert not layout.obstacle
        rows = recording.rows_read.expand(*recording.targets.shape, -1)
        alone = (Between(0, 0),) * len(recording.layers)
        return Across((layout.tokens,), alone, recording.layers, recording.gradients, (rows,))
    scorer = recording.scorer()
    with recording.resumed() as model, torch.enable_grad():
        run = tracked_pass(model, recording.images, layout.across)
        found = gradients(run, scorer)
        check_reached(found, recording.targets, why_unreached(model, run, scorer), recording.score.called)
        # Where nothing goes back through attention, it comes to what is read behind the last layer alone.
        apart = gradients(detached_pass(model, recording.images, layout.across), scorer)
    rows_read = []
    for number, tokens in enumerate(layout.sequences.tokens):
        last = next(
            (
                apart[i]
                for i, call in reversed(list(enumerate(layout.sequences.calls)))
                if call.queries == number
            ),
            None,
        )
        read = (
            recording.images.new_zeros(*recording.targets.shape, tokens, dtype=torch.float32)
            if last is None
            else (last != 0).any(dim=-1).any(dim=2).float()
        )
        rows_read.append(read / read.sum(dim=-1, keepdim=True).clamp_min(1))
    return Across(layout.sequences.tokens, layout.sequences.calls, run.layers, found, tuple(rows_read))
