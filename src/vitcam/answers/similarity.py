"""How similar an image is to another one, by a model's embedding of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vitcam.answers.answer import About, AnswerKind, named
from vitcam.errors import TargetError
from vitcam.types import Answered

Embedding = Callable[[Any], Float[Tensor, "batch features"]]
_NAMES = ("image_embeds", "pooler_output")


def similar_to(reference: Any, *, embedding: Embedding | None = None) -> AnswerKind:
    """A target: the cosine similarity of an image's embedding to that of another image, or to any embedding.

    s = ⟨f(x), r⟩ / (‖f(x)‖ ‖r‖), where f is what the model gives and r the embedding of the reference, which is
    constant: the map says what in *x* makes it similar. For maps on both pictures of a pair, explain each by the
    other: ``vitcam.explain(model, [a, b], targets=vitcam.similar_to([b, a]))``.

    Args:
        reference: an image as :func:`vitcam.explain` takes them, with which all are compared; or as many as there are
            images, each with its own; for a single image several, a target each. Or embeddings: a tensor (features,),
            (images, features), or (images, targets, features).
        embedding: from the model's output to (batch, features). None: the output itself, if it is such a table; its
            ``image_embeds``, or its ``pooler_output``.

    Raises:
        TargetError: when it is explained: the references don't fit the number of images, or the model gives no
            embedding, or logits of classes.

    Example:
        >>> backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0)
        >>> e = vitcam.explain(backbone, images[:2], targets=vitcam.similar_to(images[:2].flip(0)))
        >>> e.heatmaps.shape, e.answered[0][0].label
        (torch.Size([2, 1, 14, 14]), 'similarity')
    """
    return _Similarity(reference, embedding)


@dataclass(frozen=True)
class _Similarity(AnswerKind):
    """The table has a column for each reference, whatever image it belongs to.

    Attributes:
        reference, embedding: as given.
        embedded: (references, features) of unit length.
        columns: (images, targets), which of them each image is compared with.
    """

    reference: Any
    embedding: Embedding | None
    embedded: Tensor | None = None
    columns: Tensor | None = None

    def prepared(self, about: About) -> AnswerKind:
        if about.is_classifier and self.embedding is None:
            raise TargetError(
                f"{type(about.module).__name__} gives logits of classes, and similar_to compares embeddings: load it "
                "without its head (timm: num_classes=0; Hugging Face: AutoModel), or say which of its output is the "
                "embedding: similar_to(…, embedding=lambda output: …)"
            )
        given = self.reference
        if isinstance(given, Tensor) and given.dim() < 4:
            if not given.is_floating_point() or not given.dim():
                raise TargetError(
                    "an embedding is a float tensor (features,), (images, features) or (images, targets, features); "
                    f"got {given.dtype} of shape {tuple(given.shape)}. An image needs a batch: image[None]"
                )
            embedded = given.detach()
        else:
            embedded = torch.cat([self._embedding(output) for output in about.outputs(given)])
            if len(embedded) == 1:
                embedded = embedded[0]
        flat, columns = embedded.reshape(-1, embedded.shape[-1]).float(), _columns(embedded, about.images)
        if not bool(flat.isfinite().all() and flat.any(dim=1).all()):
            raise TargetError(
                "a reference's embedding is zero or not finite, so that nothing is similar to it"
            )
        return replace(self, embedded=F.normalize(flat, dim=1), columns=columns)

    def of_images(self, start: int, count: int) -> AnswerKind:
        assert self.columns is not None
        return replace(self, columns=self.columns[start : start + count])

    def table(self, output: Any) -> Float[Tensor, "batch references"]:
        embedding, references = self._embedding(output), self.embedded
        assert references is not None
        if embedding.shape[1] != references.shape[1]:
            raise TargetError(
                f"the reference's embedding has {references.shape[1]} features, and the model gives "
                f"{embedding.shape[1]}: embed it by the same model, or give the image itself"
            )
        least = torch.promote_types(embedding.dtype, torch.float32)
        return F.normalize(embedding.to(least), dim=1) @ references.to(embedding.device, least).T

    def choose(self, table: Float[Tensor, "batch references"]) -> Int[Tensor, "batch targets"]:
        assert self.columns is not None
        return self.columns[: len(table)].to(table.device)

    def describe(self, row: Float[Tensor, " references"], column: int, size: tuple[int, int]) -> Answered:
        assert self.columns is not None
        of_one = next(each for each in self.columns.tolist() if column in each)
        label = "similarity" if len(of_one) == 1 else f"similarity to reference {of_one.index(column)}"
        return Answered(label, f"cosine {float(row[column]):.3f}", float(row[column]))

    def _embedding(self, output: Any) -> Float[Tensor, "batch features"]:
        found = _embedding_in(output) if self.embedding is None else self.embedding(output)
        if not (isinstance(found, Tensor) and found.dim() == 2 and found.is_floating_point()):
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise TargetError(f"an embedding is a float tensor (batch, features); embedding= gave {what}")
        return found


def _embedding_in(output: Any) -> Tensor:
    tables = [output, *(named(output, name) for name in _NAMES if not isinstance(output, Tensor))]
    if isinstance(output, tuple | list) and sum(_is_table(each) for each in output) == 1:
        tables = [each for each in output if _is_table(each)]
    found: Tensor | None = next((each for each in tables if _is_table(each)), None)
    if found is not None and named(output, "logits") is None:
        return found
    raise TargetError(
        f"which part of the model's output ({type(output).__name__}) is its embedding isn't known: it is no tensor "
        "(batch, features), and has no image_embeds or pooler_output alone. Say it: similar_to(…, embedding=lambda "
        "output: output.last_hidden_state[:, 0])"
    )


def _is_table(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2 and value.is_floating_point()


def _columns(embedded: Tensor, images: int) -> Int[Tensor, "images targets"]:
    """Which references each image is compared with."""
    count = embedded.shape[:-1].numel()
    if embedded.dim() == 1 or count == 1:
        return torch.zeros(images, 1, dtype=torch.long)
    if len(embedded) == images:
        return torch.arange(count).reshape(images, -1)
    if images == 1 and embedded.dim() == 2:
        return torch.arange(count)[None]
    raise TargetError(
        f"{len(embedded)} references don't fit {images} images: give one for all, or one for each image"
    )
