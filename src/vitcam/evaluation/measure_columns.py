"""Numbers and curves that several measures have, of another region, what is removed, or what it is filled with."""

from __future__ import annotations

from vitcam.evaluation.measure import Curve, Number

_PROBABILITY = "Probability of the class"


def overlap(prefix: str, title: str, region: str, truth: str) -> tuple[Number, ...]:
    """How well a region fits; where there is a prefix, small tables show the IoU alone."""
    rest = None if prefix else ""
    pixels = "pixel accuracy" if prefix else "Pixel accuracy"
    return (
        Number(
            f"{prefix}iou", f"{title}IoU", f"Shared part of {region} and the true {truth}: |P∩T| / |P∪T|."
        ),
        Number(f"{prefix}dice", f"{title}Dice", f"2|P∩T| / (|P| + |T|), with P {region}.", short=rest),
        Number(
            f"{prefix}precision",
            f"{title}{'precision' if prefix else 'Precision'}",
            f"How much of P lies inside the true {truth}.",
            short=rest,
        ),
        Number(
            f"{prefix}recall",
            f"{title}{'recall' if prefix else 'Recall'}",
            f"How much of the true {truth} P covers.",
            short=rest,
        ),
        Number(
            f"{prefix}pixel_accuracy",
            f"{title}{pixels}",
            "Pixels that are rightly inside or outside.",
            short=None if prefix else "Pixel acc.",
        ),
    )


def overlap_columns(prefix: str, *more: str) -> tuple[str, ...]:
    names = ("pixel_accuracy", "iou", "dice", "precision", "recall", *more)
    return tuple(f"{prefix}{name}" for name in names)


def iou_curve(key: str, truth: str) -> Curve:
    return Curve(
        key, "IoU against threshold", f"With {truth} (higher is better)", "IoU", "thresholds", "Threshold"
    )


def removal(prefix: str, title: str, how: str, source: str = "", area: str = "") -> tuple[Number, ...]:
    """The area between two curves, most and least important first, and that below each.

    Args:
        prefix: of the columns.
        title: before those of the numbers.
        how: what becomes of what is removed.
        source: where that is from.
        area: the short title of the area, which small tables then show alone.
    """
    rest = None if area else ""
    removed = "Mean probability of the class while the {} important pixels are removed first; {}."
    return (
        Number(
            f"{prefix}abpc",
            f"{title}ABPC",
            f"Area between the two curves, LeRF − MoRF; {how}.",
            unit="−1 to 1",
            short=area,
            source=source,
        ),
        Number(f"{prefix}auc_lerf", f"{title}LeRF", removed.format("least", how), short=rest, source=source),
        Number(
            f"{prefix}auc_morf",
            f"{title}MoRF",
            removed.format("most", how),
            "lower",
            short=rest,
            source=source,
        ),
    )


def removal_curves(prefix: str, plot: str, what: str) -> tuple[Curve, ...]:
    panels = {
        "morf": "MoRF: most important first (lower is better)",
        "lerf": "LeRF: least important first (higher is better)",
    }
    return tuple(
        Curve(f"{prefix}{key}", plot, panel, _PROBABILITY, axis_title=f"Fraction of {what} removed")
        for key, panel in panels.items()
    )


def removal_columns(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for name in ("lerf", "morf", "auc_lerf", "auc_morf", "abpc"))


def filling(fill: str, how: str) -> tuple[Number, ...]:
    area = "Area under the curve while pixels {} {}."
    return (
        Number(
            f"auc_insertion_{fill}",
            f"Insertion ({fill})",
            area.format("return to", how),
            short=f"Ins. {fill}",
        ),
        Number(
            f"auc_deletion_{fill}",
            f"Deletion ({fill})",
            area.format("give way to", how),
            "lower",
            short=f"Del. {fill}",
        ),
    )


def filling_curves(fill: str, title: str) -> tuple[Curve, ...]:
    panels = {"deletion": "Deletion (lower is better)", "insertion": "Insertion (higher is better)"}
    plot, axis_title = f"Insertion and deletion, {title}", "Fraction of pixels changed"
    return tuple(
        Curve(f"{key}_{fill}", plot, panel, _PROBABILITY, axis_title=axis_title)
        for key, panel in panels.items()
    )
