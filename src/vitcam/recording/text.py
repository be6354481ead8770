"""Which tokens of a model's sequences are those of the text that it is given beside an image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitcam.recording.attention import AttentionCall
from vitcam.recording.binding import Inputs, bound
from vitcam.recording.gradients import backward
from vitcam.recording.layout import Layout
from vitcam.recording.watch import ReachedError, Watch, value_features

if TYPE_CHECKING:
    from vitcam.recording.recording import Recording

NAME = "input_ids"  # of the argument, in all models of transformers that read


@dataclass(frozen=True)
class Text:
    """The text that a model is given with each image.

    Attributes:
        ids: those of its tokens.
        sequence: the number of the sequence that they are in, 0 being the image's.
        tokens: which token of this sequence each of them is.
    """

    ids: Int[Tensor, "batch length"]
    sequence: int
    tokens: tuple[int, ...]


def ids_of(inputs: Inputs) -> Int[Tensor, "batch length"] | None:
    """Those of the tokens of the text that is given with each image; None without one."""
    ids = inputs.per_image.get(NAME)
    is_text = isinstance(ids, Tensor) and ids.dim() == 2 and not ids.is_floating_point()
    return ids if is_text else None


def text_of(recording: Recording) -> Text | None:
    """Measures which tokens change with which id of the first image's text.

    As places of an image are told: copy b of the text has other ids where their code words have a one at b.

    Returns:
        None if there is no text, or which tokens are its couldn't be told.
    """
    ids, layout = ids_of(recording.inputs), recording.layout
    if ids is None or not layout.together:
        return None
    first = _first_calls(layout)
    if not first:
        return None
    codes = _codes(ids.shape[1]).to(ids.device)
    own = ids[:1]
    other = torch.where(own == own.max(), own.min(), own.max())
    if bool((other == own).all()):
        other = torch.where(own > 0, own - 1, own + 1)
    rows = torch.cat([own, torch.where(codes, other, own)])
    seen = _values(recording, rows, first)
    for number, index in first.items():
        if index in seen and (tokens := _decoded(seen[index], codes)):
            return Text(ids, number, tokens)
    return None


def text_products(recording: Recording) -> Float[Tensor, "batch targets length"] | None:
    """Embedding × gradient of the text's tokens, summed over channels; None if no embedding of its ids is seen.

    They are taken where the model looks the ids up, so that each is known to be whose.
    """
    ids = ids_of(recording.inputs)
    if ids is None:
        return None
    found = _Embedded(ids)
    with recording.resumed() as model, torch.enable_grad():
        with found:
            output = model(recording.images)
        if found.leaf is None:
            return None
        (gradient,) = backward(recording.scorer()(output), [found.leaf])
    return (gradient * found.leaf.detach()[:, None]).float().sum(dim=-1)


class _Embedded(TorchFunctionMode):
    """Keeps what some ids are embedded as, where gradients end."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.leaf: Tensor | None = None
        self._ids = ids

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if self.leaf is None and function is F.embedding:
            (ids,) = args[:1] or [(kwargs or {})["input"]]
            if ids.shape == self._ids.shape and torch.equal(ids, self._ids.to(ids.device)):
                self.leaf = result.detach().requires_grad_()
                return self.leaf.clone()
        return result


def _first_calls(layout: Layout) -> dict[int, int]:
    """For each sequence the number of the first call that reads it."""
    if not layout.sequences:
        if layout.obstacle or len(layout.streams) > 1:
            return {}
        return {0: next(index for index, call in enumerate(layout.calls) if call.stream is not None)}
    first: dict[int, int] = {}
    for index, call in enumerate(layout.sequences.calls):
        first.setdefault(call.keys, index)
    return first


def _codes(length: int) -> Bool[Tensor, "bits length"]:
    """A word for each token, with as many ones as zeros."""
    bits = next(n for n in range(2, 65) if comb(n, n // 2) >= length)
    words = list(islice(combinations(range(bits), bits // 2), length))
    return torch.tensor([[bit in word for word in words] for bit in range(bits)])


def _values(recording: Recording, rows: Tensor, first: dict[int, int]) -> dict[int, Tensor]:
    """What the first calls see of an image with each of some texts."""
    seen: dict[int, Tensor] = {}
    images = recording.images[:1].repeat(len(rows), *[1] * (recording.images.dim() - 1))
    inputs = recording.inputs.of(0, 1)
    inputs = replace(inputs, per_image={**inputs.per_image, NAME: rows})

    def attend(call: AttentionCall, features: Tensor | None, index: int) -> Tensor:
        if index in first.values() and features is not None:
            seen[index] = value_features(call, len(rows))
        if len(seen) == len(first):
            raise ReachedError
        return call.run()

    with recording.resumed() as model, bound(model, inputs), suppress(ReachedError):
        Watch(model, len(rows)).run(images, attend)
    return seen


def _decoded(
    values: Float[Tensor, "rows tokens features"], codes: Bool[Tensor, "bits length"]
) -> tuple[int, ...]:
    """The token of each id; () if one answers to none, or others than one token answer to it."""
    changes = (values[1:] - values[:1]).norm(dim=-1)
    strongest = changes.amax(dim=0)
    ones, zeros = changes > 0.5 * strongest, changes < 0.02 * strongest
    read = strongest > 1e-3 * values[0].norm(dim=-1).median()
    tokens = []
    for code in codes.T:
        same = (ones == code[:, None]).all(dim=0) & (zeros != code[:, None]).all(dim=0) & read
        if int(same.sum()) != 1:
            return ()
        tokens.append(int(same.nonzero()))
    return tuple(tokens)
