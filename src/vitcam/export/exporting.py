"""Writes a model as one file that answers with logits and heatmaps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from PIL import Image
from torch import Tensor, nn

from vitcam.errors import MethodError, ModelError, TargetError, VitcamError
from vitcam.explaining import AnyModel
from vitcam.export.description import Classes, describe, resized
from vitcam.export.errors import ExportError
from vitcam.export.explaining_model import ExplainingModel
from vitcam.export.graph import require, write_graph
from vitcam.export.maps import EXPORTABLE
from vitcam.export.tracing import trace
from vitcam.export.verification import Agreement, compare_answers, run_file
from vitcam.images import open_image
from vitcam.methods import find_method
from vitcam.models.device import on_device
from vitcam.models.loaded import LoadedModel
from vitcam.models.preprocessing import Preprocessing
from vitcam.photos import photo_path
from vitcam.recording import Overrides, Score
from vitcam.recording.known import Known, know
from vitcam.recording.preserved import preserved

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
    description: dict[str, Any]
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
        method: "agcam", "rollout" or "attention", as they are by default.
        classes: which are explained: "top1" (the predicted one), "top5" or "all".
        image_size: (height, width); None: as the loaded model wants it.
        verify: whether its answers are compared with PyTorch's.

    Raises:
        ModelError: the model has no logits, or no attention that this can express.
        MethodError: the method can't be exported.
        TargetError: ``classes`` is none of the three, or there are fewer than five.
        ExportError: a package is missing, the file can't be written, torch can't export the model, or the
            exported model doesn't answer as PyTorch does.

    Example:
        >>> vitcam.export.export_onnx(vitcam.load_model("embedded:photo"), "photo.onnx").path.name
        'photo.onnx'
    """
    loaded, module = (model, model.module) if isinstance(model, LoadedModel) else (None, model)
    _check_method(method)
    choose = _choice(classes)
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
    ):
        known = _known(module, images)
        graph = _traced(ExplainingModel(module, known, method, choose), images[:2])
    description = describe(loaded, type(module).__name__, method, classes, known.layout.grid, size)
    with _folder(path) as folder:
        file = Path(folder) / path.name
        write_graph(graph, images[:2], ("logits", "targets", "heatmaps"), file, description)
        agreement = compare_answers(run_file(file), model, images, method) if verify else None
        described = file.with_suffix(".json")
        described.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for written in (described, file):
            written.replace(path.with_name(written.name))
    return Exported(path, description, agreement)


def _check_method(name: str) -> None:
    method, options = find_method(name)
    if method.name not in EXPORTABLE or options != method.options:
        raise MethodError(
            f"{name!r} can't be exported; what can are {', '.join(EXPORTABLE)}, with their default options. "
            "Other methods need gradients through the whole model, or passes of their own"
        )


def _choice(classes: str) -> Callable[[Tensor], Tensor]:
    def choose(logits: Tensor) -> Tensor:
        batch, count = logits.shape
        if classes == "all":
            return torch.arange(count, device=logits.device).expand(batch, count)
        if classes == "top1":
            return logits.argmax(dim=1, keepdim=True)
        if count < 5:
            raise TargetError(f"classes='top5' asks for 5 classes; this model has {count}")
        return logits.topk(5, dim=1).indices

    if classes not in get_args(Classes):
        raise TargetError(f"classes must be one of {', '.join(get_args(Classes))}; got {classes!r}")
    return choose


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".onnx":
        raise ExportError(f"an exported model's name ends in .onnx; got {path}")
    return path


def _folder(path: Path) -> TemporaryDirectory[str]:
    """A folder beside the file, on the same disk, so that what is in it can be moved into place."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ExportError(f"can't write {path}: {error.strerror}") from error


def _images(loaded: LoadedModel | None, size: Size | None) -> Tensor:
    """A photograph and three images of noise, as a model would get them."""
    if loaded is None and size is None:
        raise ModelError(
            "a module doesn't say how large its images are: pass image_size=(height, width), or a loaded model"
        )
    if loaded is not None and loaded.promptable and not loaded.class_names:
        raise ModelError(
            f"{loaded.spec} has no classes of its own. Say which texts: model.with_prompts([…]), and export that"
        )
    if loaded is not None:
        prepare = resized(loaded.preprocessing, size or loaded.preprocessing.size)
    else:
        assert size is not None
        prepare = Preprocessing(size=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    photograph: Image.Image = open_image(photo_path("cat"))
    noise = torch.randn(3, 3, *prepare.size, generator=torch.Generator().manual_seed(0))
    return torch.cat([prepare(photograph)[None], noise])


def _known(module: nn.Module, images: Tensor) -> Known:
    kinds = {weight.dtype for weight in module.parameters()}
    if kinds - {torch.float32}:
        found = ", ".join(str(kind).removeprefix("torch.") for kind in kinds)
        raise ModelError(
            f"only models in fp32 can be exported; this one's weights are {found}: model.float()"
        )
    known = know(module, images[:1], Score(choose=_choice("top1")), Overrides())
    layout = known.layout
    obstacle = layout.obstacle
    if known.pools:
        obstacle = "its head reads the tokens through an attention of its own"
    elif not obstacle and not layout.blocks:
        obstacle = "its transformer blocks weren't found"
    if obstacle:
        raise ModelError(
            f"{type(module).__name__} can't be exported: {obstacle}. What can are Vision Transformers whose "
            "layers all attend over the same tokens, with a head that reads the class token or the mean"
        )
    return known


def _traced(model: ExplainingModel, images: Tensor) -> torch.fx.GraphModule:
    try:
        return trace(model, images)
    except VitcamError:
        raise
    except Exception as error:
        # Whatever torch raises about a model whose operations depend on values or on the batch size.
        raise ExportError(
            f"{type(model.model).__name__} can't be turned into a graph for any batch size: "
            f"{error or type(error).__name__}"
        ) from error
