"""Values of scans, and of other arrays of three axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitcam.errors import ImageError
from vitcam.inputs.files import Files, check_values, checked_path, in_words, reader
from vitcam.inputs.kind import Array

SCANS = frozenset({".nii", ".nii.gz"})
"""What nibabel reads here."""

ARRAYS = frozenset({".npy"})

FILES = Files("volumes", SCANS | ARRAYS)

MAX_VOXELS = 2**28

MAX_START = 2**24
"""Bytes in front of a scan's values: its header, and what else was noted about it."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume's values.

    Attributes:
        values: (channels, *axes) float32.
        path: of the file.
    """

    values: Array
    path: Path

    @property
    def size(self) -> tuple[int, int]:
        """The lengths of the last two axes, the last one first."""
        return self.values.shape[-1], self.values.shape[-2]


def read_scan(source: Any, channels: int, orientation: str | None, max_voxels: int = MAX_VOXELS) -> Scan:
    """A volume: a NIfTI file, its axes turned to an orientation; or a .npy array, its axes as they are.

    Args:
        source: the file's path.
        channels: how many values each voxel must have. The axis of several is the last of a NIfTI file, and the
            first of an array.
        orientation: the directions in which the axes of a NIfTI file shall go, such as "RAS": to the right, to the
            front, and up; None: as they are in the file.
        max_voxels: larger volumes are refused before they are read.

    Raises:
        ImageError: there is no such file, it is no volume, truncated, too large, empty, of other numbers than real
            ones or other channels, has values that aren't finite, or nibabel isn't installed.
    """
    path = checked_path(source, *FILES)
    if path.suffix.lower() == ".npy":
        with in_words(path, "an array"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            _check(
                path,
                array.shape if channels > 1 or array.ndim > 3 else (1, *array.shape),
                channels,
                max_voxels,
            )
            _check_type(path, array.dtype)
            values = np.array(array, dtype=np.float32).reshape(channels, *array.shape[-3:])
    else:
        values = _of_nifti(path, channels, orientation, max_voxels)
    check_values(values, path, "voxels")
    return Scan(values, path)


def _of_nifti(path: Path, channels: int, orientation: str | None, max_voxels: int) -> Array:
    nibabel = reader("nibabel", "volume", "NIfTI files")
    with in_words(path, "a NIfTI file"):
        _check_start(nibabel, path)
        scan = nibabel.load(path)
        shape = tuple(scan.shape)
        while len(shape) > 3 and shape[-1] == 1:  # no times, no vectors
            shape = shape[:-1]
        _check(path, (*shape[3:], *shape[:3]) if len(shape) > 3 else (1, *shape), channels, max_voxels)
        _check_type(path, scan.get_data_dtype())
        if orientation is not None:
            towards = nibabel.orientations.axcodes2ornt(tuple(orientation))
            turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(scan.affine), towards)
            scan = scan.as_reoriented(turn)
        values = np.asarray(scan.get_fdata(dtype=np.float32)).reshape(*scan.shape[:3], channels)
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def _check_start(nibabel: Any, path: Path) -> None:
    """Refuses a file whose values begin late: nibabel unpacks whatever stands in front of them, and keeps it."""
    with nibabel.openers.ImageOpener(path) as file:
        start = file.read(1024)
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if kind.may_contain_header(start):
            begin = float(kind(start[: kind.sizeof_hdr], check=False)["vox_offset"])
            if not begin <= MAX_START:
                raise ImageError(f"{path} is damaged: {begin:,.0f} bytes stand in front of its values")


def _check(path: Path, shape: tuple[int, ...], channels: int, max_voxels: int) -> None:
    """Of (channels, *axes)."""
    if len(shape) != 4:
        raise ImageError(
            f"{path} has {len(shape) - 1} axes besides its channels ({shape}); expected the three of a volume"
        )
    if shape[0] != channels:
        raise ImageError(
            f"{path} has {shape[0]} values in each voxel (of the times, directions or channels of a scan), and the "
            f"model takes {channels}. Save one volume of it as a file of its own"
        )
    if math.prod(shape) == 0:
        raise ImageError(f"{path} is empty: it has {'×'.join(map(str, shape[1:]))} voxels")
    if math.prod(shape) > max_voxels:
        raise ImageError(
            f"{path} has {'×'.join(map(str, shape))} values, more than {max_voxels:,}. Make it smaller, or cut out "
            "what is to be explained"
        )


def _check_type(path: Path, dtype: Any) -> None:
    if np.dtype(dtype).kind not in "buif":
        raise ImageError(f"{path} holds values of the type {dtype}; expected real numbers")
