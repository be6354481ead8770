"""Where a model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vitcam.errors import ModelError


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name; "auto" is CUDA if there is a GPU, else MPS on a Mac, else the CPU.

    Raises:
        ModelError: there is no such device on this machine.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # Which of them is raised depends on the device and on how torch was built.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _unusable(name, reason) from error
    if device.type == "meta":
        raise _unusable(name, "there tensors hold no values")
    return device


def _unusable(name: str | torch.device, reason: str) -> ModelError:
    return ModelError(
        f"can't run on device {str(name)!r}: {reason}. Use 'cpu', or 'auto' for the best there is"
    )


def sent_to(device: torch.device, tensor: Tensor) -> Tensor:
    """The tensor on a device; from memory to a GPU without waiting until it has arrived."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextlib.contextmanager
def on_device(model: nn.Module, name: str | torch.device | None) -> Iterator[torch.device]:
    """Moves a model to a device for the duration of the ``with``, and back; None leaves it where it is.

    Raises:
        ModelError: there is no such device on this machine.
    """
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    where = home if name is None else find_device(name)
    if where == home:
        yield home
        return
    try:
        model.to(where)
        yield where
    finally:
        model.to(home)
