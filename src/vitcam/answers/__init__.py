"""Kinds of answer: what a model says besides the logits of classes, and which scores of it can be explained."""

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names

if TYPE_CHECKING:
    from vitcam.answers.answer import About, AnswerKind
    from vitcam.answers.captions import next_token
    from vitcam.answers.detection import detections
    from vitcam.answers.image_text import matching
    from vitcam.answers.segmentation import region
    from vitcam.answers.similarity import similar_to
    from vitcam.answers.values import value

__all__ = ["About", "AnswerKind", "detections", "matching", "next_token", "region", "similar_to", "value"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "About": "vitcam.answers.answer",
        "AnswerKind": "vitcam.answers.answer",
        "detections": "vitcam.answers.detection",
        "matching": "vitcam.answers.image_text",
        "next_token": "vitcam.answers.captions",
        "region": "vitcam.answers.segmentation",
        "similar_to": "vitcam.answers.similarity",
        "value": "vitcam.answers.values",
    },
)
