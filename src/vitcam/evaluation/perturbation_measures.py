"""The measures of what a model says without parts of the image, declared."""

from __future__ import annotations

from vitcam.evaluation.measure import ANY_AXES, Measure, Number, Protocol
from vitcam.evaluation.measure_columns import (
    filling,
    filling_curves,
    removal,
    removal_columns,
    removal_curves,
)

_OURS: tuple[Protocol, ...] = ("vitcam",)
_BOTH: tuple[Protocol, ...] = ("paper", "vitcam")
_METRICS = "vitcam.evaluation.metrics"

PERTURBATION = (
    Measure(
        "abpc",
        "perturbation",
        f"{_METRICS}.perturbation:measured",
        removal("", "", "removed pixels become grey"),
        removal_curves("", "MoRF and LeRF", "pixels"),
        _BOTH,
        stored=removal_columns(""),
        axes=ANY_AXES,
    ),
    Measure(
        "insertion-deletion",
        "perturbation",
        f"{_METRICS}.insertion_deletion:measured",
        (*filling("blur", "a blurred photograph"), *filling("mean", "the photograph's mean colour")),
        (*filling_curves("blur", "blurred"), *filling_curves("mean", "mean colour")),
        _OURS,
        stored=tuple(
            f"{area}{curve}_{fill}"
            for area in ("", "auc_")
            for fill in ("blur", "mean")
            for curve in ("insertion", "deletion")
        ),
        axes=ANY_AXES,
    ),
    Measure(
        "road",
        "perturbation",
        f"{_METRICS}.road:measured",
        removal(
            "road_",
            "ROAD ",
            "removed pixels are interpolated from their neighbours",
            "arXiv 2202.00449",
            "ROAD",
        ),
        removal_curves("road_", "ROAD", "pixels"),
        _OURS,
        stored=removal_columns("road_"),
    ),
    Measure(
        "token-dropping",
        "perturbation",
        f"{_METRICS}.token_dropping:measured",
        removal(
            "token_", "Token ", "removed patches are taken out of the sequence", "arXiv 2204.08945", "Tokens"
        ),
        removal_curves("token_", "Token dropping", "patches"),
        _OURS,
        absent="the model has no class token, or its attention needs the whole grid of patches",
        stored=removal_columns("token_"),
        axes=ANY_AXES,
    ),
    Measure(
        "saco",
        "perturbation",
        f"{_METRICS}.saco:measured",
        (
            Number(
                "saco",
                "SaCo",
                "Whether hotter parts matter more to the prediction, −1 to 1.",
                unit="−1 to 1",
                source="arXiv 2404.01415",
            ),
        ),
        protocols=_OURS,
        axes=ANY_AXES,
    ),
)
