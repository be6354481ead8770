"""Which explanation deserves trust: datasets, metrics, and runs that survive being killed.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitcam.lazy import lazy_names

if TYPE_CHECKING:
    from vitcam.errors import RunError
    from vitcam.evaluation.datasets import Dataset, Sample, open_dataset
    from vitcam.evaluation.metrics.localization import localization_scores
    from vitcam.evaluation.metrics.perturbation import Curves, perturbation_curves
    from vitcam.evaluation.reproducing import reproduce
    from vitcam.evaluation.runner import evaluate
    from vitcam.evaluation.task import Progress

__all__ = [
    "Curves",
    "Dataset",
    "Progress",
    "RunError",
    "Sample",
    "evaluate",
    "localization_scores",
    "open_dataset",
    "perturbation_curves",
    "reproduce",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Curves": "vitcam.evaluation.metrics.perturbation",
        "Dataset": "vitcam.evaluation.datasets",
        "Progress": "vitcam.evaluation.task",
        "RunError": "vitcam.errors",
        "Sample": "vitcam.evaluation.datasets",
        "evaluate": "vitcam.evaluation.runner",
        "localization_scores": "vitcam.evaluation.metrics.localization",
        "open_dataset": "vitcam.evaluation.datasets",
        "perturbation_curves": "vitcam.evaluation.metrics.perturbation",
        "reproduce": "vitcam.evaluation.reproducing",
    },
)
