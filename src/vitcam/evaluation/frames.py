"""Polars, or the error that says how to get it."""

from __future__ import annotations

from vitcam.errors import RunError

try:
    import polars as pl
except ImportError as error:
    raise RunError(
        "runs and their reports need Polars, which isn't installed: pip install 'vitcam[eval]'"
    ) from error

__all__ = ["pl"]
