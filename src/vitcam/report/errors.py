"""What goes wrong when a run is reported."""

from __future__ import annotations

from vitcam.errors import VitcamError


class ReportError(VitcamError):
    """A run can't be read, or has nothing of what was asked for."""
