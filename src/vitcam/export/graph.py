"""From traced operators to a file."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitcam.errors import ExportError

# The first with GELU as one operator; runtimes for browsers know it.
OPSET = 20
LARGEST = 2**31  # bytes: what one file of this format can hold


def require(*packages: str) -> None:
    """Raises ExportError, which names the extra, where one of these can't be imported."""
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ExportError(
                f"exporting needs {package}, which isn't installed: pip install 'vitcam[export]'"
            ) from error


def write_graph(
    model: nn.Module,
    images: Tensor,
    outputs: Sequence[str],
    path: Path,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model as an ONNX graph with an input ``images`` of any batch size.

    Args:
        model: from images to a tensor or a tuple of tensors; a traced one, or any that torch can export.
        images: of the height and width that the graph is to have.
        outputs: the names of what it returns.
        path: the file.
        metadata: what is written into it under "vitcam", as JSON.

    Raises:
        ExportError: a package is missing, the model is too large for one file, or can't be exported.
    """
    require("onnx", "onnxscript")
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if size >= LARGEST:
        raise ExportError(f"the model's weights take {size / 2**30:.1f} GiB; an ONNX file can hold 2 GiB")
    with _quiet():
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            input_names=["images"],
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # which it is for an export to a file
    graph_model: Any = program.model
    program.rename_axes({graph_model.graph.inputs[0].shape[0]: "batch"})
    _forget_exporter(graph_model)
    if metadata is not None:
        graph_model.metadata_props["vitcam"] = json.dumps(metadata, ensure_ascii=False)
    program.save(path)


def _forget_exporter(model: Any) -> None:
    """Without the exporter's notes on every node and value: they are of use to nobody who runs the file."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values(), *(out for node in graph for out in node.outputs)]
    for noted in (model, graph, *graph, *values):
        noted.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and its converter say about their own affairs."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
