"""Writes a model as one file that answers with logits and heatmaps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vitcam.errors import ExportError, ModelError, VitcamError
from vitcam.explaining import AnyModel, explain
from vitcam.export.description import Classes, describe, resized
from vitcam.export.explaining_model import ExplainingModel
from vitcam.export.exportable import choice_of, exportable_method, structure
from vitcam.export.graph import require, write_graph
from vitcam.export.tracing import trace
from vitcam.export.verification import Agreement, compare_answers, run_file
from vitcam.images import open_image
from vitcam.methods import canonical_name
from vitcam.models.device import on_device
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.photos import photo_path
from vitcam.recording import preserved
from vitcam.writing import check_place

Size = tuple[int, int]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the graph; a file of the same name that ends in .json describes it.
        description: what is in that file.
        agreement: how far it is from PyTorch; None if it wasn't verified.
    """

    path: Path
    description: dict[str, Any] = field(repr=False)
    agreement: Agreement | None


def export_onnx(
    model: AnyModel,
    path: str | Path,
    method: str = "agcam",
    classes: Classes = "top1",
    image_size: Size | None = None,
    verify: bool = True,
) -> Exported:
    """Writes a model as one ONNX graph that answers with logits and heatmaps, without autograd.

    Its input is ``images`` float32 (batch, 3, height, width), normalised, of any batch size. Its outputs are
    ``logits`` float32 (batch, classes), ``targets`` int64 (batch, targets): the classes explained, and
    ``heatmaps`` float32 (batch, targets, rows, columns): raw values on the patch grid, as those of
    ``vitcam.explain``. A description (see ``vitcam.export.describe``) is in its metadata under "vitcam", and
    beside it in a file that ends in .json. Both files are there whole and verified, or not at all.

    Args:
        model: a loaded model, or any ``nn.Module`` that returns logits, in fp32.
        path: the file, which ends in .onnx.
        method: "agcam", "tempercam", "rollout" or "attention", with options in brackets as in
            "agcam(layers='last:4')": ``layers``, ``normalization`` and ``positive`` of agcam; ``layers``, ``power``
            and ``positive`` of tempercam, ``head_fusion`` of rollout, ``layer`` of attention.
        classes: which are explained: "top1" (the predicted one), "top5" or "all".
        image_size: (height, width); None: as the loaded model wants it.
        verify: whether its answers are compared with PyTorch's.

    Raises:
        ModelError: the model has no logits, or no attention that this can express.
        MethodError: the method or one of its options can't be exported, or an option's value is wrong.
        TargetError: ``classes`` is none of the three, or doesn't fit the number of classes.
        ExportError: a package is missing, the file can't be written, torch can't export the model, or the
            exported model doesn't answer as PyTorch does.

    Example:
        >>> exported = vitcam.export.export_onnx(photo_model, "photo.onnx")
        >>> exported.path.name, exported.description["grid"], exported.agreement.heatmaps < 1e-3
        ('photo.onnx', [12, 12], True)
    """
    loaded, module = (model, model.module) if isinstance(model, LoadedModel) else (None, model)
    found, options = exportable_method(method)
    method = canonical_name(found, options)
    choose = choice_of(classes)
    path = _checked_path(path)
    require("onnx", "onnxscript", *(["onnxruntime"] if verify else []))
    images = _images(loaded, image_size)
    size = (images.shape[-2], images.shape[-1])
    # Gradients are needed whatever the caller has switched off around this call.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        on_device(module, "cpu"),
        preserved(module),
        _written_whole(path) as (file, described),
    ):
        known = structure(module, images[:1], classes)
        description = describe(loaded, type(module).__name__, method, classes, known.layout.grid, size)
        explain(module, images[:1], method)  # which checks the options' values
        explaining = ExplainingModel(module, known, found.name, options, choose)
        _write(explaining, images[:2], file, description)
        agreement = compare_answers(run_file(file), module, images, method) if verify else None
        text = json.dumps(description, indent=2, ensure_ascii=False)
        described.write_text(f"{text}\n", encoding="utf-8")
    return Exported(path, description, agreement)


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".onnx":
        raise ExportError(f"an exported model's name ends in .onnx; got {path}")
    check_place(path, ExportError)
    return path


@contextmanager
def _written_whole(path: Path) -> Iterator[tuple[Path, Path]]:
    """Where to write the file and its description; they are moved into place if all went well.

    In a folder beside them, on the same disk; nothing is left of it otherwise.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            files = Path(folder) / path.name, Path(folder) / path.with_suffix(".json").name
            yield files
            for file in reversed(files):
                file.replace(path.with_name(file.name))
    except FileExistsError as error:
        raise ExportError(f"can't write {path}: {error.filename} is a file, not a folder") from error
    except OSError as error:
        raise ExportError(f"can't write {path}: {error.strerror or error}") from error


def _images(loaded: LoadedModel | None, size: Size | None) -> Tensor:
    """A photograph and three images of noise, as a model would get them."""
    if loaded is None and size is None:
        raise ModelError(
            "a module doesn't say how large its images are: pass image_size=(height, width), or a loaded model"
        )
    if loaded is not None and loaded.promptable and not loaded.class_names:
        raise ModelError(
            f"{loaded.spec} has no classes of its own. Say which texts they are: --text on the command line, "
            "model.with_prompts([…]) in Python"
        )
    if loaded is not None:
        loaded.check_photographs("an export")
        prepare = resized(loaded.preprocessing, size or loaded.preprocessing.size)
    else:
        assert size is not None
        prepare = Preprocessing(size=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    photograph: Image.Image = open_image(photo_path("cat"))
    noise = torch.randn(3, 3, *prepare.size, generator=torch.Generator().manual_seed(0))
    return torch.cat([prepare(photograph)[None], noise])


def _write(model: ExplainingModel, images: Tensor, file: Path, description: dict[str, Any]) -> None:
    try:
        write_graph(trace(model, images), images, ("logits", "targets", "heatmaps"), file, description)
    except (VitcamError, OSError):
        raise
    except Exception as error:
        # Whatever torch raises about a model whose operations depend on values or on the batch size, or
        # aren't in ONNX.
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        reason = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        raise ExportError(
            f"{type(model.model).__name__} can't be turned into an ONNX graph for any batch size: {reason}"
        ) from error
