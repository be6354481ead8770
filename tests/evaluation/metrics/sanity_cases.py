"""Cases of sanity, as a run makes them."""

from __future__ import annotations

from vitcam.evaluation.randomising import Twin
from vitcam.evaluation.sanity_case import SanityCase, explained


def make_case(model, images, methods, seed=0, **changed) -> SanityCase:
    maps, targets = explained(model, methods, images, None, "fp32")
    given = {
        "heatmaps": maps.heatmaps,
        "on_grid": maps.on_grid,
        "targets": targets.repeat(len(methods)),
        "logits": maps.logits,
        "multi_label": False,
        "precision": "fp32",
        "seed": seed,
        "twin": Twin(model, seed),
    }
    return SanityCase(model, tuple(methods), images, **{**given, **changed})
