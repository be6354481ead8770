"""The tokens of a text that came with each image, and what they weigh in the answer."""

from __future__ import annotations

from vitcam.methods import Method
from vitcam.models.loaded import LoadedModel
from vitcam.recording import Recording
from vitcam.types import TextToken


def text_tokens(
    recording: Recording, method: Method, loaded: LoadedModel | None
) -> tuple[tuple[tuple[TextToken, ...], ...], ...]:
    """Per image and target the tokens of its text with their weights; () without a text, or by a method without."""
    ids = recording.text_ids
    weights = None if method.of_text is None or ids is None else method.of_text(recording)
    if weights is None or ids is None:
        return ()
    return tuple(
        tuple(tuple(map(TextToken, _names(of_image, loaded), target, of_image)) for target in of_targets)
        for of_image, of_targets in zip(ids.tolist(), weights.float().tolist(), strict=True)
    )


def _names(ids: list[int], loaded: LoadedModel | None) -> list[str]:
    tokenizer = None if loaded is None else loaded.tokenizer
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor
    return list(map(str, ids if tokenizer is None else tokenizer.convert_ids_to_tokens(ids)))
