"""What goes wrong when a metric is computed."""

from __future__ import annotations

from vitcam.errors import VitcamError


class MetricError(VitcamError, ValueError):
    """Heatmaps, truths or settings that a metric isn't defined for."""
