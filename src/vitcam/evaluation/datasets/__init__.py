"""Datasets to evaluate explanations on, each read from its official layout; nothing is downloaded."""

from __future__ import annotations

from vitcam.evaluation.datasets.dataset import Dataset, DatasetClass
from vitcam.evaluation.datasets.kinds import KINDS, Kind, open_dataset
from vitcam.evaluation.datasets.matching import ClassMatch, match_classes
from vitcam.evaluation.datasets.sample import Sample
from vitcam.evaluation.datasets.torch_dataset import torch_dataset

__all__ = [
    "KINDS",
    "ClassMatch",
    "Dataset",
    "DatasetClass",
    "Kind",
    "Sample",
    "match_classes",
    "open_dataset",
    "torch_dataset",
]
