"""The error of benchmarks."""

from __future__ import annotations

from vitcam.errors import VitcamError


class BenchError(VitcamError, ValueError):
    """A benchmark can't be run as it was asked for."""
