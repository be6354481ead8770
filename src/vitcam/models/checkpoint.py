"""Weights from a file, and what doesn't fit about them."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from vitcam.errors import ModelError
from vitcam.models.spec import Spec

# Where training scripts put the weights among the rest; averaged weights are what is meant to be used.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")


def read_checkpoint(spec: Spec) -> dict[str, Tensor]:
    """The weights in a specification's file, by name, on the CPU.

    Files are never trusted: only safetensors, or PyTorch files without code (``weights_only=True``).

    Raises:
        ModelError: the file is missing, truncated, not a checkpoint, or would run code.
    """
    path = Path(spec.file or "")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "doesn't exist"
        raise ModelError(
            f"Can't load {spec}: {path} {what}. Expected a file of weights (.safetensors, .pth, .pt or .bin)."
        )
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _load_pickle(path)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"Can't load {spec}: {path} isn't a file of weights, or holds Python objects beside them, which "
            f"vitcam never runs. Save only the weights: torch.save(model.state_dict(), FILE)."
        ) from error
    except Exception as error:  # a damaged file makes torch and safetensors raise nearly anything
        raise ModelError(
            f"Can't load {spec}: {path} can't be read as weights: it is truncated, damaged or no checkpoint "
            f"({' '.join(str(error).split())[:200]})."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(
            f"Can't load {spec}: {path} holds no weights by name, but {type(content).__name__}. "
            f"Save them with torch.save(model.state_dict(), FILE)."
        )
    return {_without_prefix(name): value for name, value in content.items() if isinstance(value, Tensor)}


def misfit(spec: Spec, error: Exception) -> ModelError:
    """The error for weights that don't fit the model, with the vendor's list of keys shortened."""
    lines = [_shortened(line) for line in str(error).splitlines() if not line.startswith("Error(s)")]
    more = [f"… ({len(lines) - 6} more lines)"] if len(lines) > 6 else []
    return ModelError(
        "\n  ".join([f"Can't load {spec}: the weights don't fit the model.", *lines[:6], *more])
        + "\nThe file must be from this architecture; its name, and its number of classes, decide."
    )


def _load_pickle(path: Path) -> object:
    # timm's training script saves its arguments beside the weights; a Namespace is plain data
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _without_prefix(name: str) -> str:
    """A weight's name without what parallel and compiled training put before it."""
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _shortened(line: str) -> str:
    keys = line.strip().split(", ")
    if len(keys) <= 3 or "key(s)" not in line:
        return line.strip()
    return f"{', '.join(keys[:3])}, … ({len(keys) - 3} more)"
