"""From ``KIND:PATH`` to an open dataset."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vitcam.errors import DatasetError
from vitcam.evaluation.datasets.coco import open_coco
from vitcam.evaluation.datasets.cub import open_cub
from vitcam.evaluation.datasets.dataset import Dataset
from vitcam.evaluation.datasets.folder import open_folder
from vitcam.evaluation.datasets.imagenet import open_imagenet
from vitcam.evaluation.datasets.imagenet_seg import open_imagenet_seg
from vitcam.evaluation.datasets.tiny_imagenet import open_tiny_imagenet
from vitcam.evaluation.datasets.voc import open_voc
from vitcam.evaluation.local import check_local

KINDS: Mapping[str, Callable[..., Dataset]] = MappingProxyType(
    {
        "imagenet": open_imagenet,
        "voc": open_voc,
        "cub": open_cub,
        "tiny-imagenet": open_tiny_imagenet,
        "imagenet-seg": open_imagenet_seg,
        "coco": open_coco,
        "folder": open_folder,
    }
)
"""The layouts that can be read, and what reads them."""


def open_dataset(spec: str, **options: Any) -> Dataset:
    """Opens a dataset and checks that it is complete. Nothing is downloaded.

    Args:
        spec: ``KIND:PATH``, with KIND one of ``KINDS``.
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
    kind, colon, path = spec.partition(":")
    if not colon or kind not in KINDS:
        raise DatasetError(f"expected KIND:PATH with KIND one of {', '.join(KINDS)}; got {spec!r}")
    if not path:
        raise DatasetError(f"{spec!r} has no path: say where the dataset lies, as in {kind}:/data/{kind}")
    read = KINDS[kind]
    known = list(inspect.signature(read).parameters)[1:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        can = f"its options are {', '.join(known)}" if known else "it has none"
        raise DatasetError(f"the {kind} dataset has no option {', '.join(map(repr, unknown))}: {can}")
    check_local(path, f"a {kind} dataset", DatasetError)
    root = Path(os.path.expanduser(path))  # noqa: PTH111  Path.expanduser raises for the home of nobody known
    if not os.path.exists(root):  # noqa: PTH110  Path.exists raises for a name that is too long
        raise DatasetError(
            f"there is no {kind} dataset at {root}: the path doesn't exist (nothing is downloaded)"
        )
    return read(root, **options)
