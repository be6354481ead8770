"""What goes wrong when an evaluation is run."""

from __future__ import annotations

from vitcam.errors import VitcamError


class RunError(VitcamError):
    """A run can't begin, go on, or be stored."""
