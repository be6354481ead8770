"""A first look at a model: the first attention call that the image reaches, and whether images go together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitcam.errors import ModelError
from vitcam.recording.attention import AttentionCall
from vitcam.recording.blocks import find_blocks
from vitcam.recording.layout import Image, Sides, changed_copies
from vitcam.recording.running import OtherTokensError, explain_failure
from vitcam.recording.upstream import IMAGE, Upstream
from vitcam.recording.watch import (
    NotTogetherError,
    ReachedError,
    Rows,
    Watch,
    answer_apart,
    change_of,
    tolerance,
    unmixed,
)


@dataclass(frozen=True)
class Scouted:
    """What a first look at a model tells.

    Attributes:
        first: the number of the first attention call that the image reaches.
        together: whether several images go through the model at once, each as if it were alone.
        convolutions: (rows, columns) of what convolutions in front of that call gave.
        tokens: how many keys that call has.
        stack: the modules that make it, outermost first, where images go through together.
        dtype: the lowest precision that anything was computed in.
    """

    first: int
    together: bool
    convolutions: tuple[Sides, ...]
    tokens: int
    stack: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32

    def blocks(self, model: nn.Module) -> list[tuple[str, ...]]:
        """Siblings one of which makes that call: what may be the transformer blocks."""
        return [found for name in self.stack if (found := find_blocks(model, [name]))]


def scout(model: nn.Module, image: Image) -> Scouted:
    """Looks for the first attention call that the image reaches.

    Raises:
        ModelError: the model fails, no attention was seen or the image reaches none, or the same image gives other
            tokens each time.
    """
    everything = torch.ones(1, *image.shape[2:], dtype=torch.bool)
    rows = torch.cat([image, changed_copies(image, everything), image])
    try:
        return _scout_together(model, rows)
    except NotTogetherError:
        pass
    except ModelError:
        raise
    except Exception:  # whatever a model raises that takes one image at a time; alone it has to work
        pass
    return _scout_one_by_one(model, rows)


def _scout_together(model: nn.Module, rows: Rows) -> Scouted:
    watch, upstream = Watch(model, rows.shape[0]), Upstream()
    reached: list[Scouted] = []
    upstream.mark(rows, {IMAGE})

    def attend(call: AttentionCall, features: Tensor | None, index: int) -> Tensor:
        if features is None:
            return answer_apart(call, upstream)
        allowed = tolerance(watch.behaviour.dtype)
        changed, again = (change_of(features[row], features[0]).max() > allowed for row in (1, 2))
        if again:
            raise NotTogetherError
        if changed:
            reached.append(
                Scouted(
                    index,
                    True,
                    tuple(watch.convolutions),
                    features.shape[1],
                    tuple(watch.stack),
                    watch.behaviour.dtype,
                )
            )
            raise ReachedError
        return call.run()

    watch.run(rows, attend, upstream.see)
    return reached[0] if reached else _unreached(model, watch.count)


def _scout_one_by_one(model: nn.Module, rows: Rows) -> Scouted:
    each: list[list[Tensor]] = []
    for row in rows.split(1):
        watch, seen = Watch(model, 1), list[Tensor]()

        def attend(
            call: AttentionCall, features: Tensor | None, index: int, seen: list[Tensor] = seen
        ) -> Tensor:
            assert features is not None  # there is one image
            seen.append(features[0])
            return call.run()

        try:
            watch.run(row, attend)
        except Exception as error:
            # Whatever a model raises on input that it isn't made for, its user needs to know the input.
            raise explain_failure(model, row, error) from error
        each.append(seen)
    original, changed, again = each
    if len(original) != len(again) or any(
        one.shape != other.shape or change_of(one, other).max() > tolerance(watch.behaviour.dtype)
        for one, other in zip(original, again, strict=True)
    ):
        raise OtherTokensError(
            f"{type(model).__name__} makes other tokens of the same image each time, so that no map would fit the "
            "image. Does it mask patches at random (Hugging Face's ViTMAE does, also when it evaluates)? Explain a "
            "model without that, such as ViTForImageClassification with the same weights"
        )
    for index, (one, other) in enumerate(zip(original, changed, strict=False)):
        if one.shape != other.shape or change_of(one, other).max() > tolerance(watch.behaviour.dtype):
            return Scouted(index, False, tuple(watch.convolutions), len(one), dtype=watch.behaviour.dtype)
    return _unreached(model, len(original))


def _unreached(model: nn.Module, calls: int) -> Scouted:
    if calls:
        raise ModelError(
            f"the image reaches none of the {calls} attention calls of {type(model).__name__}: they see the same "
            "whatever the image is, so there is nothing to explain"
        )
    raise ModelError(
        f"no attention was seen: {type(model).__name__} never called torch's scaled_dot_product_attention, nor "
        "was a softmax multiplied with values. vitcam explains Vision Transformers. If this is one, let it "
        "call torch.nn.functional.scaled_dot_product_attention (timm: fused_attn=True; Hugging Face: "
        "attn_implementation='sdpa')"
    )


def unmixed_pass(model: nn.Module, rows: Rows, scouted: Scouted) -> None:
    """Runs images through the whole model, no token mixed with another; hooks see what they see."""

    def attend(given: AttentionCall, features: Tensor | None, index: int) -> Tensor:
        return given.run() if index < scouted.first or features is None else unmixed(given, features)

    Watch(model, len(rows)).run(rows, attend)


def tokens_at(
    model: nn.Module, rows: Rows, scouted: Scouted, call: int
) -> Float[Tensor, "rows tokens features"]:
    """The keys and values of one attention call for each of some images, no token mixed with another before it."""
    tokens: list[Tensor] = []

    def attend(given: AttentionCall, features: Tensor | None, index: int) -> Tensor:
        if index == call:
            assert features is not None  # or the model would not take images together
            tokens.append(features)
            raise ReachedError
        return given.run() if index < scouted.first or features is None else unmixed(given, features)

    for part in rows.split(len(rows) if scouted.together else 1):
        watch, before = Watch(model, len(part)), len(tokens)
        watch.run(part, attend)
        if len(tokens) == before:
            raise other_calls(model)
    return torch.cat(tokens)


def other_calls(model: nn.Module) -> ModelError:
    """The error for a model whose attention calls aren't the same each time."""
    return ModelError(
        f"{type(model).__name__} makes other attention calls each time that it runs, so that its layers can't be "
        "told. Does it leave out layers at random (stochastic depth that evaluation doesn't switch off), or "
        "depending on what is in an image?"
    )


def other_tokens(model: nn.Module) -> ModelError:
    """The error for a model that makes something else of the same image each time."""
    return ModelError(
        f"{type(model).__name__} gives another output, or other tokens, for the same image from call to call, or "
        "with other images beside it, so that no map would fit. Does it keep something from one call to the "
        "next, draw at random also when it evaluates, or mix the images of a batch?"
    )
