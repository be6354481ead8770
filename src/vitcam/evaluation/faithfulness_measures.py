"""Further measures of what a model says without parts of the image, declared."""

from __future__ import annotations

from vitcam.evaluation.measure import ANY_AXES, Curve, Measure, Number, Protocol

_OURS: tuple[Protocol, ...] = ("vitcam",)
_METRICS = "vitcam.evaluation.metrics"
_CORRELATION = "−1 to 1"
_PREDICTED = "no photograph's class is what the model predicts"


def _srg(fill: str, how: str, same: str, short: str | None = "") -> Number:
    return Number(
        f"srg_{fill}",
        f"SRG ({fill})",
        f"Symmetric Relevance Gain, the area between removing the least and the most important pixels first; {how}.",
        unit=_CORRELATION,
        short=f"SRG {fill}" if short == "" else short,
        source="arXiv 2405.02067",
        note=f"It is {same}.",
    )


def _chefer(direction: str, explained: str, better: str) -> tuple[Number, Curve]:
    first = {"positive": "most", "negative": "least"}[direction]
    title = f"{direction.capitalize()} perturbation ({explained})"
    number = Number(
        f"chefer_auc_{direction}_{explained}",
        title,
        f"Area under top-1 accuracy while 10 % to 90 % of the pixels become black, {first} important first; "
        f"heatmaps are of the {explained} class.",
        "lower" if better == "lower" else "higher",
        "0 to 0.8",
        short=f"{direction.capitalize()[:3]}. {explained}",
        source="arXiv 2012.09838",
        note="Wrong predictions count too.",
    )
    curve = Curve(
        f"chefer_{direction}_{explained}",
        f"Chefer's perturbation test, {explained} class",
        f"{direction.capitalize()} ({better} is better)",
        "Top-1 accuracy",
        axis_title="Fraction of pixels that are black, from 0.1 to 0.9",
    )
    return number, curve


_CHEFER = tuple(
    _chefer(direction, explained, better)
    for explained in ("predicted", "target")
    for direction, better in (("positive", "lower"), ("negative", "higher"))
)

FAITHFULNESS = (
    Measure(
        "srg",
        "perturbation",
        f"{_METRICS}.gains:gained",
        (
            _srg("blur", "removed pixels are blurred", "Insertion (blur) − Deletion (blur)"),
            _srg(
                "mean",
                "removed pixels become the photograph's mean colour",
                "Insertion (mean) − Deletion (mean)",
            ),
            _srg("grey", "removed pixels become grey", "ABPC", short=None),
            _srg("imputed", "removed pixels are interpolated from their neighbours", "ROAD ABPC", short=None),
        ),
        protocols=_OURS,
        axes=ANY_AXES,
    ),
    Measure(
        "aopc",
        "perturbation",
        f"{_METRICS}.gains:over_curve",
        (
            Number(
                "aopc",
                "AOPC",
                "Mean fall of the class's probability while the most important pixels become grey.",
                unit=_CORRELATION,
                source="arXiv 1509.06321",
            ),
        ),
        protocols=_OURS,
        axes=ANY_AXES,
    ),
    Measure(
        "lodds",
        "perturbation",
        f"{_METRICS}.gains:in_log_odds",
        (
            Number(
                "lodds",
                "LOdds",
                "Mean of log(p(k)/p(0)) of the class's probability while the most important pixels become grey.",
                "lower",
                "−87 to 87",
                source="arXiv 1704.02685",
            ),
        ),
        protocols=_OURS,
        axes=ANY_AXES,
    ),
    Measure(
        "faithfulness-estimate",
        "perturbation",
        f"{_METRICS}.saco:estimated",
        (
            Number(
                "faithfulness_estimate",
                "Faithfulness estimate",
                "Correlation of the heat of SaCo's groups of pixels with how far the probability falls without each.",
                unit=_CORRELATION,
                short="Faith. est.",
                source="arXiv 1806.07538",
            ),
        ),
        protocols=_OURS,
        axes=ANY_AXES,
    ),
    Measure(
        "infidelity",
        "perturbation",
        f"{_METRICS}.subset_removal:infidelity",
        (
            Number(
                "infidelity",
                "Infidelity",
                "Mean squared difference between how far the probability falls without random sets of patches, and "
                "their heat, scaled as fits best.",
                "lower",
                source="arXiv 1901.09392",
            ),
        ),
        protocols=_OURS,
        axes=ANY_AXES,
    ),
    Measure(
        "faithfulness-correlation",
        "perturbation",
        f"{_METRICS}.subset_removal:faithfulness_correlation",
        (
            Number(
                "faithfulness_correlation",
                "Faithfulness correlation",
                "Correlation of the heat of random sets of 20 % of the patches with how far the probability falls "
                "without each.",
                unit=_CORRELATION,
                short="Faith. corr.",
                source="arXiv 2005.00631",
            ),
        ),
        protocols=_OURS,
        axes=ANY_AXES,
    ),
    Measure(
        "sensitivity-n",
        "perturbation",
        f"{_METRICS}.subset_removal:sensitivity_n",
        (
            Number(
                "sensitivity_n",
                "Sensitivity-n",
                "The same correlation, mean over sets of 10, 20, 40, 60 and 80 % of the patches.",
                unit=_CORRELATION,
                short="Sens.-n",
                source="arXiv 1711.06104",
            ),
        ),
        (Curve("sensitivity_n_curve"),),
        _OURS,
        axes=ANY_AXES,
    ),
    Measure(
        "irof",
        "perturbation",
        f"{_METRICS}.irof:measured",
        (
            Number(
                "irof",
                "IROF",
                "Area over p(k)/p(0) while the most important patches become the mean colour.",
                unit="at most 1",
                source="arXiv 2003.08747",
                note="Of photographs whose class is predicted.",
            ),
        ),
        protocols=_OURS,
        absent=_PREDICTED,
        axes=ANY_AXES,
    ),
    Measure(
        "chefer-perturbation",
        "perturbation",
        f"{_METRICS}.chefer:measured",
        tuple(number for number, _ in _CHEFER),
        tuple(curve for _, curve in _CHEFER),
        absent="black, or other classes' explanations, aren't known",
    ),
    Measure(
        "completeness-error",
        "perturbation",
        f"{_METRICS}.completeness:measured",
        (
            Number(
                "completeness_error",
                "Completeness error",
                "|Σ map − (y(x) − y(0))|, of the class's logit y; of methods that claim to add up to that.",
                "lower",
                "0 and up, in logits",
                short="Compl. error",
                source="arXiv 1703.01365",
            ),
        ),
        absent="none of the methods claims to add up to the class's score, as captum:IntegratedGradients does",
        axes=ANY_AXES,
    ),
)
