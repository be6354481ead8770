"""Pictures: a heatmap over its photograph, and panels that compare classes and methods. No model in here."""

from vitcam.render.colors import DEFAULT_COLORMAP, colorize
from vitcam.render.overlay import overlay
from vitcam.render.panel import Cell, panel, thumbnail

__all__ = ["DEFAULT_COLORMAP", "Cell", "colorize", "overlay", "panel", "thumbnail"]
