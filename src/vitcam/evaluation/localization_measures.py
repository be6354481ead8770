"""The measures of maps against true boxes and masks, declared."""

from __future__ import annotations

from vitcam.evaluation.measure import Curve, Measure, Number, Protocol
from vitcam.evaluation.measure_columns import (
    iou_curve,
    overlap,
    overlap_columns,
)

_OURS: tuple[Protocol, ...] = ("vitcam",)
_BOTH: tuple[Protocol, ...] = ("paper", "vitcam")
_METRICS = "vitcam.evaluation.metrics"
_TOGETHER = "vitcam.evaluation.together"

LOCALIZATION = (
    Measure(
        "iou",
        "localization",
        f"{_METRICS}.localization:measured",
        (
            *overlap("", "", "the filled boxes around what is hotter than the threshold", "box"),
            Number(
                "max_iou",
                "Best IoU",
                "The IoU at each image's own best threshold.",
                short=None,
                protocols=_OURS,
            ),
        ),
        (iou_curve("iou_curve", "boxes"),),
        _BOTH,
        stored=overlap_columns("", "max_iou", "iou_curve"),
    ),
    Measure(
        "max-box-accuracy",
        "localization",
        f"{_METRICS}.max_box_accuracy:measured",
        (
            Number(
                "max_box_accuracy",
                "MaxBoxAcc",
                "How often the largest box has an IoU of at least 0.5, at the method's best threshold.",
                source="arXiv 2001.07437",
                note="Intervals and tests hold for that threshold as given.",
                together=f"{_TOGETHER}:MAX_BOX_ACCURACY",
            ),
            Number(
                "max_box_accuracy_v2",
                "MaxBoxAccV2",
                "How often some box has an IoU of at least 0.3, 0.5, 0.7, each at the method's best threshold, on "
                "average.",
                short=None,
                source="arXiv 2007.04178",
                note="Intervals and tests hold for these thresholds as given.",
                together=f"{_TOGETHER}:MAX_BOX_ACCURACY_V2",
            ),
        ),
        (Curve("largest_box_iou_curve"), Curve("best_box_iou_curve")),
        _OURS,
    ),
    Measure(
        "pixel-ap",
        "localization",
        f"{_METRICS}.pixel_precision:measured",
        (
            Number(
                "pxap",
                "PxAP",
                "Average precision of all photographs' pixels together, ordered by heat.",
                source="arXiv 2001.07437",
                note="Intervals and tests hold for the precision at each threshold as given.",
                together=f"{_TOGETHER}:PXAP",
            ),
            Number("pixel_ap", "Pixel AP", "Average precision of each photograph's pixels, ordered by heat."),
        ),
        (Curve("pixel_hits_curve"), Curve("pixel_predicted_curve")),
        _OURS,
    ),
    Measure(
        "pointing",
        "localization",
        f"{_METRICS}.pointing:measured",
        (
            Number(
                "pointing",
                "Pointing game",
                "How often the hottest pixel lies on the object.",
                short="Pointing",
            ),
        ),
        protocols=_OURS,
    ),
    Measure(
        "energy",
        "localization",
        f"{_METRICS}.energy:measured",
        (
            Number(
                "energy",
                "Energy inside",
                "How much of all heat lies on the object.",
                short="Energy",
                source="arXiv 1910.01279",
            ),
        ),
        protocols=_OURS,
    ),
    Measure(
        "grid-pointing",
        "localization",
        f"{_METRICS}.grid_pointing:measured",
        (
            Number(
                "positive_inside",
                "Positive inside",
                "How much of what is positive in the map lies on the object; on mosaics the grid pointing "
                "game's score, or "
                "Focus.",
                short="GridPG",
                source="arXiv 2104.00032, 2109.15035",
            ),
        ),
        protocols=_OURS,
    ),
    Measure(
        "mask",
        "localization",
        f"{_METRICS}.mask_overlap:measured",
        overlap("mask_", "Mask ", "what is hotter than the threshold", "mask"),
        (iou_curve("mask_iou_curve", "masks"),),
        _OURS,
        absent="none of these photographs has a mask",
        needs_masks=True,
        stored=overlap_columns("mask_", "iou_curve"),
    ),
    Measure(
        "segmentation",
        "localization",
        f"{_METRICS}.segmentation:measured",
        (
            Number(
                "segmentation_miou",
                "Segmentation mIoU",
                "The IoU of what is hotter than the map's mean with the mask, and of the rest with the rest, all "
                "photographs' pixels together.",
                short="Seg. mIoU",
                source="arXiv 2012.09838",
                together=f"{_TOGETHER}:SEGMENTATION_MIOU",
            ),
            Number(
                "segmentation_accuracy",
                "Segmentation pixel accuracy",
                "Pixels that are rightly hotter than the map's mean or not, all photographs' together.",
                short=None,
                source="arXiv 2012.09838",
                together=f"{_TOGETHER}:SEGMENTATION_ACCURACY",
            ),
            Number(
                "segmentation_ap",
                "Segmentation mAP",
                "Average precision of heat as object and of its complement as background.",
                short=None,
                source="arXiv 2012.09838",
            ),
            Number(
                "segmentation_f1",
                "Segmentation mF1",
                "F1 of what is hotter than the map's mean, the mean over rows of pixels.",
                short=None,
                source="arXiv 2012.09838",
            ),
        ),
        (Curve("segmentation_counts"),),
        _OURS,
        absent="none of these photographs has a mask",
        needs_masks=True,
        in_any_protocol=True,
    ),
)
