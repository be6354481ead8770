"""The measures of whether maps depend on what they should, and on nothing else, declared."""

from __future__ import annotations

from vitcam.evaluation.measure import Measure, Number, Protocol

_OURS: tuple[Protocol, ...] = ("vitcam",)
_METRICS = "vitcam.evaluation.metrics"

SANITY = (
    Measure(
        "complexity",
        "sanity",
        f"{_METRICS}.complexity:measured",
        (
            Number(
                "sparseness",
                "Sparseness",
                "Gini index of the map's magnitudes: 0 where all patches are as hot, towards 1 for a single one.",
                source="arXiv 1810.06583",
            ),
            Number(
                "complexity",
                "Complexity",
                "Entropy of the patches' shares of the heat, as a part of the largest that there is.",
                "lower",
                source="arXiv 2005.00631",
            ),
        ),
        protocols=_OURS,
    ),
)
