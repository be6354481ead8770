"""The errors that vitcam raises on purpose. Each message says what was expected, what came, what to do."""

from __future__ import annotations


class VitcamError(Exception):
    """The parent of every error that vitcam raises on purpose."""


class ImageError(VitcamError, ValueError):
    """An image can't be read, or an image tensor has the wrong shape, type or values."""


class ModelError(VitcamError):
    """A model can't be loaded, or can't be explained."""


class TargetError(VitcamError, ValueError):
    """A target class doesn't exist, or targets don't fit the batch."""


class MethodError(VitcamError, ValueError):
    """A method doesn't exist, has no such option, or isn't defined for this model."""


class DatasetError(VitcamError):
    """A dataset isn't where it was said to be, lacks files, or has files that can't be read."""
