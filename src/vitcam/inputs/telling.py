"""Which kind of input a tensor is, and how its model lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vitcam.errors import ImageError

if TYPE_CHECKING:
    from vitcam.inputs.kind import InputKind


def told(module: nn.Module, given: Tensor, asked: str | None) -> tuple[InputKind, tuple[int, ...]]:
    """The kind of a tensor that a model is given, and the order of the axes in it.

    Spectrograms are told by their three axes, and pictures by four. Of five, what the model's first convolution
    takes as channels is either the third, of clips, or the second, of volumes.

    Args:
        module: the model.
        given: as the model takes it.
        asked: the name of the kind; None: found out.

    Raises:
        ImageError: there is no such kind, the tensor has no axes for it, its kind can't be told, or the model reads
            sounds along time alone.

    Example:
        >>> kind, order = told(torch.nn.Conv3d(1, 2, 3), torch.zeros(1, 1, 16, 16, 16), None)
        >>> kind.name, order
        ('volume', ())
    """
    from vitcam.inputs import KINDS

    if asked is not None and asked not in KINDS:
        raise ImageError(f"there is no kind of input {asked!r}; there are {', '.join(KINDS)}")
    kind = KINDS[asked or _told_by_axes(module, given)]
    if kind.name == "picture":  # of which more is checked elsewhere
        return kind, ()
    fitting = [order for order in kind.orders if given.dim() == len(order or (0, 1, *kind.axes))]
    if not fitting:
        raise ImageError(f"a {kind.name} must be {kind.shape}; got {tuple(given.shape)}")
    channels = _channels_of(module)
    return kind, next((o for o in fitting if _channels_in(given, o) == channels), fitting[0])


def arranged_as_picture(given: Tensor, order: tuple[int, ...]) -> Tensor:
    """A tensor as its model takes it, with the axes (batch, channels, …) that vitcam goes by.

    Example:
        >>> arranged_as_picture(torch.zeros(2, 1024, 128), (0, 3, 2)).shape
        torch.Size([2, 1, 128, 1024])
    """
    if not order:
        return given
    places = [order.index(axis) for axis in range(max(order) + 1) if axis in order]
    moved = given.permute(places)
    return moved if 1 in order else moved.unsqueeze(1)


def arranged_shape(shape: Sequence[int], order: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (channels, …) of one input as vitcam goes by it, from that as its model takes it.

    Example:
        >>> arranged_shape((1024, 128), (0, 3, 2))
        (1, 128, 1024)
    """
    return tuple(arranged_as_picture(torch.empty(1, *shape, device="meta"), order).shape[1:])


def takes_pictures(module: nn.Module) -> bool:
    """Whether a model can be one of pictures, by what it says of itself and by its first convolution.

    Example:
        >>> takes_pictures(torch.nn.Conv2d(3, 8, 16)), takes_pictures(torch.nn.Conv3d(1, 8, 16))
        (True, False)
    """
    first = next((each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Conv3d)), None)
    is_of_sounds = getattr(module, "main_input_name", "") == "input_values"
    is_of_clips = hasattr(getattr(module, "config", None), "num_frames")
    return not (is_of_sounds or is_of_clips or isinstance(first, nn.Conv3d))


def _told_by_axes(module: nn.Module, given: Tensor) -> str:
    named = getattr(module, "main_input_name", "")
    if named == "input_features" or (named == "input_values" and given.dim() == 2):
        raise ImageError(
            f"{type(module).__name__} reads a sound along time alone, as a wave or as the features of each moment, "
            "or folds its spectrogram. vitcam explains models that read patches of a spectrogram, such as "
            "ASTForAudioClassification"
        )
    if named == "input_values" and given.dim() == 3:
        return "sound"
    if given.dim() != 5:
        return "picture"
    channels = _channels_of(module)
    config = getattr(module, "config", None)
    in_frames = given.shape[2] == channels and (given.shape[1] != channels or hasattr(config, "num_frames"))
    return "video" if in_frames else "volume"


def _channels_in(given: Tensor, order: tuple[int, ...]) -> int:
    return given.shape[order.index(1)] if 1 in order else 1 if order else given.shape[1]


def _channels_of(module: nn.Module) -> int | None:
    """What the first convolution of a model takes as channels."""
    first = next((each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Conv3d)), None)
    return None if first is None else first.in_channels
