"""From ``KIND:PATH`` to an open dataset."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vitcam.errors import DatasetError, VitcamError
from vitcam.evaluation.datasets.coco import open_coco
from vitcam.evaluation.datasets.cub import open_cub
from vitcam.evaluation.datasets.dataset import Dataset
from vitcam.evaluation.datasets.folder import open_folder
from vitcam.evaluation.datasets.imagenet import open_imagenet
from vitcam.evaluation.datasets.imagenet_seg import open_imagenet_seg
from vitcam.evaluation.datasets.mosaic import open_mosaic
from vitcam.evaluation.datasets.synthetic import open_synthetic
from vitcam.evaluation.datasets.tiny_imagenet import open_tiny_imagenet
from vitcam.evaluation.datasets.voc import open_voc
from vitcam.registry import Registry, is_reference, split_reference
from vitcam.writing import check_local


@dataclass(frozen=True)
class Kind:
    """A kind of dataset: a layout on disk that can be read.

    Attributes:
        name: what stands before the path.
        read: from the path that was given, and options by keyword, to the dataset. Picklable, as what it returns must
            be.
        photographs: where the photograph with an ``{id}`` lies below that path, as patterns: what a report looks for
            if a run has stored no pictures.
        of: what stands behind its name: a path, a path or nothing, or another dataset's ``KIND:PATH``.

    Example:
        >>> from vitcam.evaluation.datasets import KINDS
        >>> KINDS["folder"].photographs
        ('{id}',)
    """

    name: str
    read: Callable[..., Dataset]
    photographs: tuple[str, ...] = ()
    of: Literal["path", "path or nothing", "dataset"] = "path"

    @property
    def options(self) -> tuple[str, ...]:
        """What its reader can be told by keyword.

        Example:
            >>> from vitcam.evaluation.datasets import KINDS
            >>> KINDS["folder"].options
            ('boxes', 'files')
        """
        return tuple(each.name for each in self._keywords if each.kind is not inspect.Parameter.VAR_KEYWORD)

    @property
    def options_alone(self) -> bool:
        """Whether it takes no others than these."""
        return len(self.options) == len(self._keywords)

    @property
    def _keywords(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.read).parameters.values())[1:]


_OURS = (
    Kind(
        "imagenet",
        open_imagenet,
        ("Data/CLS-LOC/val/{id}.*", "Data/CLS-LOC/val/*/{id}.*", "*/Data/CLS-LOC/val/{id}.*"),
    ),
    Kind("voc", open_voc, ("JPEGImages/{id}.jpg", "*/JPEGImages/{id}.jpg", "*/*/JPEGImages/{id}.jpg")),
    Kind("cub", open_cub, ("images/{id}", "*/images/{id}")),
    Kind("tiny-imagenet", open_tiny_imagenet, ("val/images/{id}", "*/val/images/{id}")),
    Kind("imagenet-seg", open_imagenet_seg),
    Kind("coco", open_coco, ("{id}.jpg", "*/{id}.jpg", "*/*/{id}.jpg")),
    Kind("folder", open_folder, ("{id}",)),
    Kind("mosaic", open_mosaic, of="dataset"),
    Kind("synthetic", open_synthetic, of="path or nothing"),
)


def _as_kind(name: str, given: Any) -> Kind:
    if isinstance(given, Kind):
        return given if given.name == name else replace(given, name=name)
    if callable(given) and not isinstance(given, type):
        return Kind(name, given)
    raise DatasetError(
        f"the dataset {name} is a {type(given).__name__}: expected a vitcam.evaluation.datasets.Kind, or a function "
        "from a path to a Dataset"
    )


KINDS: Registry[Kind] = Registry(
    "dataset", "vitcam.datasets", {kind.name: kind for kind in _OURS}, _as_kind, DatasetError
)
"""The layouts that can be read: vitcam's, those of installed packages (entry points ``vitcam.datasets``), and what is
added."""


def split_spec(spec: str) -> tuple[str, str]:
    """The kind and the path of ``KIND:PATH``, whose KIND may be ``module:object``; "" for what isn't there.

    Example:
        >>> split_spec("voc:VOC2012"), split_spec("mypackage.mydata:KIND:/data/mine")
        (('voc', 'VOC2012'), ('mypackage.mydata:KIND', '/data/mine'))
    """
    kind, _, path = spec.partition(":")
    reference, behind = split_reference(spec)
    if kind not in KINDS and reference not in ("", spec):
        return reference, behind
    return kind, path


def path_of(spec: str) -> str:
    """The path of ``KIND:PATH``, or of the dataset that another one is made of.

    Example:
        >>> path_of("voc:VOC2012"), path_of("mosaic:voc:VOC2012")
        ('VOC2012', 'VOC2012')
    """
    kind, path = split_spec(spec)
    return path_of(path) if kind in KINDS and KINDS[kind].of == "dataset" else path


def find_dataset(spec: str) -> tuple[Kind, Path | str | None]:
    """What reads a dataset, and the path that it is given, or another dataset's ``KIND:PATH``.

    Args:
        spec: as for ``open_dataset``.

    Raises:
        DatasetError: there is no such kind or path.

    Example:
        >>> kind, path = find_dataset("folder:things")
        >>> kind.name, path.name
        ('folder', 'things')
    """
    kind, path = split_spec(spec)
    if kind not in KINDS and (is_reference(kind) or kind in KINDS.broken):
        KINDS.find(kind)
    if ":" not in spec or kind not in KINDS:
        there = os.path.lexists(os.path.expanduser(spec))  # noqa: PTH111  for names too long, or nobody's
        hint = f". Did you mean folder:{spec}, class folders of photographs?" if there else ""
        raise DatasetError(f"expected KIND:PATH with KIND one of {', '.join(KINDS)}; got {spec!r}{hint}")
    what = KINDS[kind].of
    if not path and what != "path or nothing":
        raise DatasetError(f"{spec!r} has no path: say where the dataset lies, as in {kind}:/data/{kind}")
    given = path if what == "dataset" else _existing(kind, path) if path else None
    return KINDS[kind], given


def open_dataset(spec: str, **options: Any) -> Dataset:
    """Opens a dataset and checks that it is complete. Nothing is downloaded.

    Args:
        spec: ``KIND:PATH``, with KIND one of ``KINDS``, or ``module:object`` for one of your own.
        **options: what this kind can be told, such as ``multi_label=True`` for ``voc``: see its reader.

    Returns:
        The dataset; its photographs are read when asked for.

    Raises:
        DatasetError: no such kind, path or option; files are missing (each is named with its full path) or
            can't be read (file, and line or field, are named).

    Example:
        >>> dataset = open_dataset("folder:things")
        >>> len(dataset), dataset.classes[0].name, dataset[0].boxes
        (12, 'cat', (Box(left=0.0, top=0.0, right=330.0, bottom=300.0),))
    """
    kind, given = find_dataset(spec)
    unknown = sorted(set(options) - set(kind.options)) if kind.options_alone else []
    if unknown:
        can = f"its options are {', '.join(kind.options)}" if kind.options else "it has none"
        raise DatasetError(f"the {kind.name} dataset has no option {', '.join(map(repr, unknown))}: {can}")
    try:
        dataset = kind.read(given, **options)
    except (VitcamError, OSError, MemoryError):
        raise
    except Exception as error:
        if kind.name in KINDS.ours:
            raise
        raise DatasetError(
            f"the {kind.name} dataset can't be read: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(dataset, Dataset):
        raise DatasetError(
            f"the {kind.name} dataset is read as a {type(dataset).__name__}: expected a vitcam.evaluation.Dataset"
        )
    return dataset


def _existing(kind: str, path: str) -> Path:
    check_local(path, f"a {kind} dataset", DatasetError)
    root = Path(os.path.expanduser(path))  # noqa: PTH111  Path.expanduser raises for the home of nobody known
    if not os.path.exists(root):  # noqa: PTH110  Path.exists raises for a name that is too long
        raise DatasetError(
            f"there is no {kind} dataset at {root}: the path doesn't exist (nothing is downloaded)"
        )
    return root
