"""The error of exporting."""

from __future__ import annotations

from vitcam.errors import VitcamError


class ExportError(VitcamError):
    """A model can't be exported, or the exported one doesn't answer as PyTorch does."""
