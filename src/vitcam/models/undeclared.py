"""What stands for the preprocessing of a loaded model that was given none."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NoReturn

from vitcam.errors import ModelError
from vitcam.models.preprocessing import Preprocessing


class Undeclared(Preprocessing):
    """A preprocessing of which nothing is known: whoever needs it, for a photograph, gets an error.

    Tensors can be explained without.
    """

    def __init__(self) -> None:
        """Sets no field."""

    def __getattr__(self, name: str) -> NoReturn:
        if name in {field.name for field in fields(Preprocessing)}:
            raise ModelError(
                "this LoadedModel has no preprocessing (it is None), so photographs can't be prepared for it, nor is "
                "the size of its images known. Give it one: LoadedModel(module, vitcam.Preprocessing(size=…, mean=…, "
                "std=…)), or pass a normalised tensor (batch, 3, height, width)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return "None"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Undeclared)

    def __hash__(self) -> int:
        return hash(Undeclared)
