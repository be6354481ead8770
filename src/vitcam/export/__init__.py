"""A model that answers with logits and heatmaps wherever ONNX runs, without PyTorch."""

from vitcam.errors import ExportError
from vitcam.export.description import Classes, describe
from vitcam.export.exporting import Exported, export_onnx
from vitcam.export.timing import Cost, measure_cost
from vitcam.export.verification import Agreement

__all__ = [
    "Agreement",
    "Classes",
    "Cost",
    "ExportError",
    "Exported",
    "describe",
    "export_onnx",
    "measure_cost",
]
