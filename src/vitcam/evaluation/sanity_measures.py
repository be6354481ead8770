"""The measures of whether maps depend on what they should, and on nothing else, declared."""

from __future__ import annotations

from vitcam.evaluation.measure import Curve, Measure, Number, Protocol

_OURS: tuple[Protocol, ...] = ("vitcam",)
_METRICS = "vitcam.evaluation.metrics"
_NO_LOGITS = "the model returns no logits"
_ADEBAYO, _HEDSTROEM, _AGARWAL, _POPPI = (
    f"arXiv {number}" for number in ("1810.03292", "2401.06465", "2203.06877", "2104.10252")
)


_WEIGHTS = "when the model's weights are drawn anew: they say nothing about what it has learned"
_CLASS = "for another class: they don't say why the model chose this one"


def _similar(prefix: str, title: str, whose: str, source: str, unmoved: str) -> tuple[Number, Number]:
    """How alike a map is to one that it should be unlike; small tables show SSIM alone."""
    return tuple(  # type: ignore[return-value]  # of two, as there are two kinds
        Number(
            f"{prefix}_{key}",
            f"{title}, {kind}",
            f"{name} between the map and that {whose}.",
            "lower",
            "−1 to 1",
            f"{title} {kind}" if key == "ssim" else None,
            source,
            unmoved=unmoved,
        )
        for key, kind, name in (("ssim", "SSIM", "SSIM"), ("rank", "rank corr.", "Spearman's correlation"))
    )


def _depths(prefix: str, panel: str) -> tuple[Curve, Curve]:
    return tuple(  # type: ignore[return-value]  # likewise
        Curve(
            f"{prefix}_{key}_curve",
            f"Similarity to the trained model's maps: {kind}",
            f"{panel} (lower is better)",
            kind,
            "depth",
            "Depth: 1 is the first layer",
        )
        for key, kind in (("ssim", "SSIM"), ("rank", "rank correlation"))
    )


SANITY = (
    Measure(
        "randomisation",
        "sanity",
        f"{_METRICS}.randomisation:measured",
        (
            *_similar(
                "cascade",
                "Cascade",
                "after the weights from the head down to a layer were drawn anew; the mean over depths",
                _ADEBAYO,
                _WEIGHTS,
            ),
            *_similar(
                "layerwise",
                "Layer by layer",
                "after the weights of some layers alone were drawn anew; the mean over depths",
                _ADEBAYO,
                _WEIGHTS,
            ),
        ),
        (
            *_depths("cascade", "From the head down to here"),
            *_depths("layerwise", "Layers at this depth alone"),
        ),
        _OURS,
    ),
    Measure(
        "efficient-randomisation",
        "sanity",
        f"{_METRICS}.efficient_randomisation:measured",
        (
            Number(
                "entropy_rise",
                "Entropy rise",
                "How much more complex the map becomes once all weights are drawn anew: the rise in the entropy of "
                "its histogram, as a part of it (eMPRT).",
                unit="−1 upwards",
                source=_HEDSTROEM,
            ),
        ),
        protocols=_OURS,
        absent="all maps are constant",
    ),
    Measure(
        "smooth-randomisation",
        "sanity",
        f"{_METRICS}.smooth_randomisation:measured",
        _similar(
            "smooth",
            "Smooth",
            "after all weights were drawn anew, both averaged over noisy versions of the image (sMPRT)",
            _HEDSTROEM,
            _WEIGHTS,
        ),
        protocols=_OURS,
    ),
    Measure(
        "random-logit",
        "sanity",
        f"{_METRICS}.random_logit:measured",
        _similar(
            "other_class", "Other class", "of another class, drawn at random", "arXiv 1912.09818", _CLASS
        ),
        protocols=_OURS,
        absent="the model has no other class",
    ),
    Measure(
        "max-sensitivity",
        "sanity",
        f"{_METRICS}.robustness:measured_sensitivity",
        (
            Number(
                "max_sensitivity",
                "Max-sensitivity",
                "The largest change of the map, as a part of it, among images close by.",
                "lower",
                "0 upwards",
                "Max-sens.",
                "arXiv 1901.09392",
            ),
        ),
        protocols=_OURS,
    ),
    Measure(
        "local-lipschitz",
        "sanity",
        f"{_METRICS}.robustness:measured_lipschitz",
        (
            Number(
                "local_lipschitz",
                "Local Lipschitz estimate",
                "The largest change of the map, divided by the image's, among images close by.",
                "lower",
                "0 upwards",
                "Lipschitz",
                "arXiv 1806.08049",
            ),
        ),
        protocols=_OURS,
    ),
    Measure(
        "relative-stability",
        "sanity",
        f"{_METRICS}.relative_stability:measured",
        (
            Number(
                "log_ris",
                "Relative input stability",
                "ln RIS: the largest relative change of the map, divided by the image's, among images close by of "
                "the same predicted class.",
                "lower",
                "ln 1e-6 upwards",
                "ln RIS",
                _AGARWAL,
            ),
            Number(
                "log_ros",
                "Relative output stability",
                "ln ROS: the same, divided by the change of the logits.",
                "lower",
                "ln 1e-6 upwards",
                "ln ROS",
                _AGARWAL,
            ),
        ),
        protocols=_OURS,
        absent=f"{_NO_LOGITS}, or it predicts another class for all images close by",
    ),
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
    Measure(
        "adcc",
        "sanity",
        f"{_METRICS}.average_drop:measured",
        (
            Number(
                "adcc",
                "ADCC",
                "Harmonic mean of coherency, 1 − area and 1 − average drop.",
                source=_POPPI,
            ),
            Number(
                "average_drop",
                "Average drop",
                "The part of the class's probability that is lost where the image is seen through the map.",
                "lower",
                short="Avg. drop",
                source="arXiv 1710.11063",
            ),
            Number(
                "average_increase",
                "Average increase",
                "How often that probability rises instead.",
                short="Avg. incr.",
                source="arXiv 1710.11063",
            ),
            Number(
                "coherency",
                "Coherency",
                "Correlation of the map with that of the image seen through it, moved to 0..1.",
                short=None,
                source=_POPPI,
            ),
            Number(
                "map_area",
                "Area",
                "Mean of the map in 0..1, which ADCC calls complexity.",
                "lower",
                short=None,
                source=_POPPI,
            ),
        ),
        protocols=_OURS,
        absent=_NO_LOGITS,
    ),
    Measure(
        "arcc",
        "sanity",
        f"{_METRICS}.average_drop:measured_arcc",
        (
            Number(
                "arcc",
                "ARCC",
                "Harmonic mean of coherency, 1 − area and ROAD's ABPC, where it is above 0.",
                source="pip grad-cam, arXiv 2605.14641",
            ),
        ),
        protocols=_OURS,
        absent=_NO_LOGITS,
    ),
)
