"""The kinds of answer by name, and how each is asked for. Imports nothing heavy."""

from __future__ import annotations

ANSWERS = {
    "classes": 'targets="cat"',
    "texts": 'targets=["a photo of a cat", "a photo of a cup"]',
    "values": "targets=vitcam.value(0)",
    "similarity": "targets=vitcam.similar_to(image)",
    "detections": 'targets=vitcam.detections("cat")',
    "regions": 'targets=vitcam.region("cat", point=(x, y))',
    "matching": "targets=vitcam.matching()",
    "next token": "targets=vitcam.next_token()",
}
"""By the names that a source of models says what its models answer with."""
