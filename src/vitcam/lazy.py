"""Packages whose public names are imported when they are first used, so that importing the package is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of such a package.

    Args:
        package: its name.
        homes: from each public name to the module that it is imported from.

    Example:
        >>> __getattr__, __dir__ = lazy_names(__name__, {"explain": "vitcam.explaining"})
    """
    namespace = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = getattr(import_module(homes[name]), name)
        return namespace[name]

    return find, lambda: sorted({*namespace, *homes})
