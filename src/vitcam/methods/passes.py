"""Many passes of a recording's images, changed: painted over, with patches left out, or hidden from attention."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitcam.errors import MethodError, TargetError
from vitcam.methods.options import one_of
from vitcam.methods.pixels import patch_numbers
from vitcam.probability import to_probabilities
from vitcam.recording import (
    Recording,
    fast_linear,
    hidden_tokens,
    removable,
    tokens_of,
    without_tokens,
)

COPIES = 16
"""Changed copies in one forward pass; up to four times as many where few of their tokens are left."""

REMOVALS = ("pixels", "tokens", "attention")
"""How patches may be removed; see :meth:`Passes.without`."""

Scores = Float[Tensor, "copies targets"]


@dataclass(frozen=True)
class Passes:
    """Makes forward passes of changed copies of a recording's images; see :func:`many_passes`.

    Attributes:
        recording: the recording.
        model: its model, resumed.
        probability: whether scores are probabilities of classes instead of their logits.
    """

    recording: Recording
    model: nn.Module
    probability: bool

    def of_images(
        self, image: int, count: int, changed: Callable[[slice], Float[Tensor, "some channels *space"]]
    ) -> Scores:
        """The scores of changed copies of an image, made when it is their turn."""
        step = COPIES if self.recording.layout.together else 1
        parts = [slice(start, min(start + step, count)) for start in range(0, count, step)]
        with self.recording.only(image):
            return torch.cat([self.scores_of(self.model(changed(part)), image) for part in parts])

    def untouched(self) -> Float[Tensor, "batch targets"]:
        """The scores of the images as they are, from the recording where it has them."""
        recording = self.recording
        if recording.logits is not None and recording.score.of_logits:
            return self._of_table(recording.logits, slice(None))
        images = recording.images
        return torch.cat([self.of_images(i, 1, images[i : i + 1].__getitem__) for i in range(len(images))])

    def without(
        self, image: int, kept: Bool[Tensor, "copies patches"], by: str = "pixels", fill: float | Tensor = 0.0
    ) -> Scores:
        """The scores of an image of which only some patches are kept.

        Args:
            image: its number.
            kept: the patches kept in each copy.
            by: how the others are removed: "pixels" paints them over; "tokens" leaves their tokens out in front of
                the first block, so that they aren't computed; "attention" lets no token attend to them, while a head
                that averages the patches still reads them.
            fill: what pixels are painted over with; of normalised images 0 is the mean colour.

        Raises:
            MethodError: the model can't do without, or nothing at all is left.
        """
        if by == "pixels":
            return self._painted(image, kept, fill)
        recording, layout = self.recording, self.recording.layout
        obstacle = getattr(removable(self.model, recording.images[:1], layout, recording.inputs.of(0, 1)), by)
        if obstacle:
            raise MethodError(
                f"patches can't be removed by {by} from {type(self.model).__name__}: {obstacle}. rise, occlusion and "
                "shapley with by='pixels' work on any model"
            )
        tokens = tokens_of(layout, kept.to(recording.images.device))
        counts = tokens.sum(dim=1)
        if not counts.all():
            raise MethodError(
                f"{type(self.model).__name__} has no token besides its patches, so that nothing is left when all are "
                "removed; paint them over (by='pixels')"
            )
        scores = recording.images.new_zeros(len(kept), recording.targets.shape[1], dtype=torch.float32)
        source = recording.images[image : image + 1]
        with recording.only(image):
            for places in _alike(counts) if by == "tokens" else [torch.arange(len(kept))]:
                few = 4 if by == "tokens" else 1
                step = COPIES * min(few, layout.tokens // int(counts[places[0]]))
                for part in places.split(max(1, step) if layout.together else 1):
                    altered = (
                        without_tokens(self.model, layout, tokens[part])
                        if by == "tokens"
                        else hidden_tokens(layout, tokens[part])
                    )
                    with altered:
                        output = self.model(source.expand(len(part), *source.shape[1:]))
                    scores[part] = self.scores_of(output, image)
        return scores

    def _painted(self, image: int, kept: Tensor, fill: float | Tensor) -> Scores:
        source = self.recording.images[image]
        numbers = patch_numbers(self.recording.layout.grid, tuple(source.shape[1:]))[0, 0]
        inside = torch.cat([kept.cpu(), kept.new_ones(len(kept), 1).cpu()], dim=1)  # pixels of no patch stay
        filled = torch.as_tensor(fill).to(source)
        return self.of_images(
            image,
            len(kept),
            lambda part: torch.where(inside[part][:, None, numbers].to(source.device), source, filled),
        )

    def scores_of(self, output: object, image: int) -> Scores:
        """The scores of copies of an image, from the model's output for them."""
        if self.recording.score.function is not None:
            return self.recording.scorer()(output).detach().float()
        table = self.recording.score.read(output).detach().float()
        return self._of_table(table, slice(image, image + 1), len(table))

    def _of_table(self, logits: Tensor, rows: slice, copies: int = 1) -> Scores:
        targets = self.recording.targets[rows].repeat_interleave(copies, dim=0)
        versus = self.recording.versus
        versus = None if versus is None else versus[rows].repeat_interleave(copies, dim=0)
        if not self.probability:
            return self.recording.score.of_table(logits, targets, versus)
        return to_probabilities(logits, multi_label=False).gather(1, targets)


@contextlib.contextmanager
def many_passes(recording: Recording, output: str = "logit") -> Iterator[Passes]:
    """Passes of a recording's model, without gradients, in the state in which it was recorded.

    Args:
        recording: any.
        output: what of a class is followed, "logit" or "probability" (softmax over the classes; the sigmoid of a
            single logit). What a function or another kind of answer scores is followed as it is.

    Raises:
        MethodError: there is no such output.
        TargetError: a function that scores holds something of each image.
    """
    one_of("a method of many passes", "output", output, ("logit", "probability"))
    score = recording.score
    probability = output == "probability" and score.of_logits
    if probability and (score.versus or score.scale or score.sign < 0):
        raise MethodError(
            "output='probability' says how a class is scored, as versus=, score= and direction= do: give "
            "output='logit', and score='probability' if probabilities are meant"
        )
    with recording.resumed() as model, torch.no_grad(), fast_linear():
        check_row_by_row(recording, model)
        yield Passes(recording, model, probability)


def check_row_by_row(recording: Recording, model: nn.Module) -> None:
    """Makes sure that a function scores an image alone: one that holds something of each image would mix them.

    Raises:
        TargetError: it doesn't.
    """
    images, function = recording.images, recording.score.function
    if function is None or len(images) == 1:
        return
    with torch.no_grad(), recording.only(0):
        output = model(images[:1])
    try:
        scores = recording.scorer()(output)
    except Exception as error:  # whatever a function raises that takes another number of images
        raise _tied_to_batch(len(images)) from error
    if scores.shape != (1, recording.targets.shape[1]):
        raise _tied_to_batch(len(images))


def _tied_to_batch(count: int) -> TargetError:
    return TargetError(
        f"the `targets` function holds something of each of the {count} images, and methods that run the model on "
        "changed copies of an image score them one by one. Give one image at a time, or class indices, one per image"
    )


def content_of(image: Tensor) -> int:
    """A number of an image's own values, to seed what is drawn for it: the same wherever it is in a batch."""
    return zlib.crc32(image.float().cpu().numpy().tobytes())


def generator_of(image: Tensor, seed: int) -> torch.Generator:
    """What draws numbers for an image."""
    return torch.Generator().manual_seed((content_of(image) << 24) ^ seed)


def _alike(counts: Tensor) -> Sequence[Tensor]:
    """The places of equal counts, which go through the model together."""
    return [(counts == count).nonzero().flatten() for count in counts.unique()]
