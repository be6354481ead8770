"""What a method is: a pure function over a recording, and what one must know to use it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from vitcam.recording import FeatureNeed, Need, Recording

TokenMap = Float[Tensor, "batch targets patches"]


class Sampled(NamedTuple):
    """A map that is an average over samples.

    Attributes:
        values: (batch, targets, patches).
        errors: the standard error of each.

    Example:
        >>> Sampled(torch.ones(1, 1, 4), torch.zeros(1, 1, 4)).errors.shape
        torch.Size([1, 1, 4])
    """

    values: TokenMap
    errors: TokenMap


class Bands(NamedTuple):
    """What the bands (channels) of an input count, by an attribution at its values.

    Attributes:
        sums: (batch, targets, bands), of each band's attributions over all places.
        sizes: the same of their magnitudes: a band that counts for a class here and against it there has a small sum.

    Example:
        >>> Bands(torch.zeros(1, 1, 13), torch.ones(1, 1, 13)).sizes.shape
        torch.Size([1, 1, 13])
    """

    sums: Float[Tensor, "batch targets bands"]
    sizes: Float[Tensor, "batch targets bands"]


class Banded(NamedTuple):
    """A map, and what the bands of the input count.

    Attributes:
        values: (batch, targets, patches).
        bands: None where they aren't known.
    """

    values: TokenMap
    bands: Bands | None


Kind = Literal["attention", "feature maps", "gradients", "masked passes", "controls", "yours"]

KINDS: dict[Kind, str] = {
    "attention": "From attention, and mostly the gradient that comes back to it",
    "feature maps": "From the channels of one layer's tokens (the CAM family)",
    "gradients": "From gradients, or relevance, at tokens or pixels",
    "masked passes": "From what the model says when parts of the image are missing",
    "controls": "From nothing of the model: controls",
    "yours": "Of other packages, or your own",
}
"""What a map may be made from, in the order in which methods are listed."""


@dataclass(frozen=True)
class Method:
    """One explanation method.

    Attributes:
        compute: from a recording, and options by keyword, to a map over the patch tokens, or one with its standard
            errors (:class:`Sampled`) or with what the input's bands count (:class:`Banded`). Its keyword arguments
            are the method's options, their defaults the paper's.
        needs: from the options to what a recording must hold.
        summary: what the map is, in one line.
        passes: what runs of the model it takes; methods that are compared share them.
        paper: where it is from.
        kind: what it is made from, one of ``KINDS``.
        class_specific: whether two classes of one image get different maps.
        plain_vit_only: whether it needs attention layers that all see the same tokens, so that it isn't
            defined for hierarchical models such as Swin.
        across_sequences: whether it is defined, all the same, where attention goes between sequences of tokens that
            are told apart: those of an encoder and a decoder.
        of_text: from a recording to the weights (batch, targets, length) of the tokens of a text that the model is
            given with each image, None where there is none; None if the method has no such weights.
        one_stream_only: whether it isn't defined for models with several streams of tokens of an image, whose
            maps would have to add up.
        by_rules: whether it has an option ``rules``, by which the gradients that are recorded for it come back.
        also_takes: another type that values of an option may have, besides that of its default.
        computes_in: the precision of its own passes, whatever the model's, so that it refuses any other; "" if it
            follows the one asked for.
        many_passes: whether it runs the model so many times that a benchmark leaves it out unless it is asked for.
        called: its name; "" for that of ``compute``.
        features: from the options to the feature map that a recording must hold; None if it needs none.
        adds_up: what claims to add up to y(x) − y(0), with y the score: "patches", the map's values; "pixels", values
            of the pixels, whose mean over a patch is the map's; "" if nothing does.

    Example:
        >>> from vitcam.methods import METHODS
        >>> rollout = METHODS["rollout"]
        >>> rollout.class_specific, rollout.options
        (False, {...})
    """

    compute: Callable[..., TokenMap | Sampled | Banded]
    needs: Callable[[Mapping[str, Any]], Need]
    summary: str
    passes: str
    paper: str
    kind: Kind = "yours"
    class_specific: bool = True
    plain_vit_only: bool = True
    across_sequences: bool = False
    of_text: Callable[[Recording], Float[Tensor, "batch targets length"] | None] | None = None
    one_stream_only: bool = False
    by_rules: bool = False
    also_takes: Mapping[str, type] = field(default_factory=dict)
    computes_in: str = ""
    many_passes: bool = False
    called: str = ""
    features: Callable[[Mapping[str, Any]], FeatureNeed] | None = None
    adds_up: Literal["", "patches", "pixels"] = ""

    @property
    def name(self) -> str:
        return self.called or self.compute.__name__

    @property
    def options(self) -> dict[str, Any]:
        """The options and their defaults."""
        parameters = inspect.signature(self.compute).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
