"""The explanation methods, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from vitcam.errors import MapError, MethodError, VitcamError, is_out_of_memory
from vitcam.methods import (
    ablationcam,
    agcam,
    attention,
    attnlrp,
    bt,
    captum,
    controls,
    eigencam,
    finercam,
    fullgrad,
    gae,
    gradcam,
    gradeclip,
    gradsam,
    ixg,
    legrad,
    lrp,
    maskclip,
    occlusion,
    reciprocam,
    rise,
    rollout,
    scorecam,
    shapley,
    tam,
    tempercam,
    tis,
    tokentm,
)
from vitcam.methods.function import of_function
from vitcam.methods.method import Banded, Bands, Method, Sampled, TokenMap
from vitcam.methods.options import of_type
from vitcam.recording import Layout, Recording
from vitcam.registry import Registry, split_options
from vitcam.types import PatchGrid

__all__ = [
    "METHODS",
    "Banded",
    "Bands",
    "Computed",
    "Method",
    "Sampled",
    "TokenMap",
    "canonical_name",
    "compute",
    "find_method",
    "grid_of",
    "obstacle_of",
]

_OURS = (
    agcam.METHOD,
    tempercam.METHOD,
    attention.METHOD,
    rollout.METHOD,
    lrp.METHOD,
    gae.METHOD,
    gradsam.METHOD,
    legrad.METHOD,
    tokentm.METHOD,
    gradeclip.METHOD,
    *gradcam.METHODS,
    *eigencam.METHODS,
    *finercam.METHODS,
    *ablationcam.METHODS,
    ixg.METHOD,
    fullgrad.METHOD,
    attnlrp.METHOD,
    tam.METHOD,
    bt.METHOD,
    maskclip.METHOD,
    reciprocam.METHOD,
    scorecam.METHOD,
    occlusion.METHOD,
    rise.METHOD,
    tis.METHOD,
    shapley.METHOD,
    *captum.METHODS,
    controls.RANDOM,
    controls.CENTER,
)


def _as_method(name: str, given: Any) -> Method:
    if isinstance(given, Method):
        return given if given.name == name else replace(given, called=name)
    if callable(given) and not isinstance(given, type):
        return of_function(given, name)
    raise MethodError(
        f"the method {name} is a {type(given).__name__}: expected a vitcam.methods.Method, or a function "
        "(model, images, targets) -> maps"
    )


METHODS: Registry[Method] = Registry(
    "method", "vitcam.methods", {method.name: method for method in _OURS}, _as_method, MethodError
)
"""By name: vitcam's, those of installed packages (entry points ``vitcam.methods``), and what is added."""


def find_method(name: str, options: Mapping[str, Any] | None = None) -> tuple[Method, dict[str, Any]]:
    """A method and its options, from a name such as ``"agcam"`` or ``"attention(layer=5)"``.

    Args:
        name: the method's name, or ``module:object`` for one of your own; options in brackets if any.
        options: more options, which override those in the name.

    Raises:
        MethodError: there is no such method or option; the message names those there are.

    Example:
        >>> find_method("rollout(head_fusion='max')")[1]
        {'head_fusion': 'max', 'discard_ratio': 0.0}
    """
    if not isinstance(name, str):
        raise MethodError(
            f"a method is named by a string, such as 'agcam' or 'attention(layer=5)'; got {name!r}"
        )
    bare, in_name = _parse(name)
    method = METHODS.find(bare)
    given = {**in_name, **(options or {})}
    for option in given:
        if option not in method.options:
            known = ", ".join(method.options) or "none"
            raise MethodError(f"{bare} has no option {option!r}; its options are: {known}")
        of_type(bare, option, given[option], method.options[option], method.also_takes.get(option))
    return method, {**method.options, **given}


def obstacle_of(method: Method, layout: Layout) -> str:
    """Why a method isn't defined for a model of this structure; "" if it is.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> obstacle_of(METHODS["agcam"], record(model, images, score, Need.NOTHING).layout)
        ''
    """
    if method.plain_vit_only and layout.obstacle and not (method.across_sequences and layout.sequences):
        return layout.obstacle
    if method.one_stream_only and len(layout.streams) > 1:
        streams = f"it has {len(layout.streams)} streams of tokens of the image"
        return f"{streams} ({layout.obstacle})" if layout.obstacle else streams
    return ""


class Computed(NamedTuple):
    """What a method gives.

    Attributes:
        values: (batch, targets, patches).
        errors: the standard error of each if they are averages over samples.
        bands: what the bands of the input count, where the method tells.
    """

    values: TokenMap
    errors: TokenMap | None
    bands: Bands | None


def compute(method: Method, options: Mapping[str, Any], recording: Recording) -> Computed:
    """The token map of a method, and what it tells besides.

    Raises:
        MethodError: the method isn't defined for the recorded model or in its precision, or an option's value is
            wrong; or one that isn't vitcam's fails, or gives no map over the patches.
    """
    if method.computes_in and recording.precision != "fp32":
        raise MethodError(
            f"{method.name} computes in {method.computes_in}, also on a model in bf16 or fp16, since its rules "
            f"divide by small numbers; leave out precision={recording.precision!r}, or choose another method"
        )
    if obstacle := obstacle_of(method, recording.layout):
        others = ", ".join(
            name for name, other in METHODS.items() if not obstacle_of(other, recording.layout)
        )
        raise MethodError(
            f"{method.name} isn't defined for {type(recording.model).__name__}: {obstacle}. "
            f"Methods that work on it: {others}. vitcam.inspect(model, images) shows what was found"
        )
    computed = method.compute if METHODS.is_ours(method) else partial(_guarded, method)
    streams = recording.by_stream() if method.plain_vit_only else [recording]
    results = [computed(stream, **options) for stream in streams]
    values = [result.values if isinstance(result, Sampled | Banded) else result for result in results]
    squares = [result.errors.square() for result in results if isinstance(result, Sampled)]
    # of several streams each would have the bands of the whole input
    only = results[0] if len(results) == 1 else None
    return Computed(
        sum(values[1:], start=values[0]),
        sum(squares[1:], start=squares[0]).sqrt() if squares else None,
        only.bands if isinstance(only, Banded) else None,
    )


def grid_of(method: Method, options: Mapping[str, Any], recording: Recording) -> PatchGrid:
    """How the patches of a method's map lie over the image: those of its feature map, or the model's.

    Example:
        >>> from vitcam.recording import Need, Score, record
        >>> score = Score(choose=lambda logits: logits.argmax(dim=1, keepdim=True))
        >>> grid_of(METHODS["agcam"], {}, record(model, images, score, Need.NOTHING))
        PatchGrid(height=14, width=14, prefix=1, order=(), region=None)
    """
    found = None if method.features is None else recording.features.get(method.features(options))
    return recording.layout.grid if found is None or found.grid is None else found.grid


def _guarded(method: Method, recording: Recording, **options: Any) -> TokenMap | Sampled | Banded:
    """What a method that isn't vitcam's computes; errors name it."""
    try:
        result = method.compute(recording, **options)
    except Exception as error:
        if isinstance(error, VitcamError) or is_out_of_memory(error):
            raise
        raise MethodError(f"the method {method.name} failed: {type(error).__name__}: {error}") from error
    expected = (*recording.targets.shape, grid_of(method, options, recording).tokens)
    maps = (
        result if isinstance(result, Sampled) else [result.values if isinstance(result, Banded) else result]
    )
    for each in maps:
        _check_maps(method, each, expected)
    if isinstance(result, Banded) and result.bands is not None:
        _check_bands(method, result.bands, (*recording.targets.shape, recording.images.shape[1]))
    return result


def _check_bands(method: Method, bands: Bands, expected: tuple[int, ...]) -> None:
    for each in bands:
        if not isinstance(each, Tensor) or tuple(each.shape) != expected or not each.isfinite().all():
            raise MethodError(
                f"the method {method.name} tells of the input's bands something else than finite tensors "
                f"(images, targets, bands), here {expected}"
            )


def _check_maps(method: Method, maps: Any, expected: tuple[int, ...]) -> None:
    if not isinstance(maps, Tensor) or tuple(maps.shape) != expected:
        given = f"shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else f"type {type(maps).__name__}"
        raise MethodError(
            f"the method {method.name} gives maps of {given}: expected a tensor (images, targets, patches), here "
            f"{expected}"
        )
    if not maps.isfinite().all():
        raise MapError(f"the method {method.name} gives NaN or infinite values")


def canonical_name(method: Method, options: Mapping[str, Any]) -> str:
    """The name by which a method with these options is known: options that aren't the default in brackets.

    Example:
        >>> canonical_name(METHODS["attention"], {"layer": 5})
        'attention(layer=5)'
    """
    changed = [f"{key}={value!r}" for key, value in options.items() if value != method.options[key]]
    return f"{method.name}({', '.join(changed)})" if changed else method.name


def _parse(name: str) -> tuple[str, dict[str, Any]]:
    return split_options(
        name,
        MethodError(
            f"can't read the method {name!r}; write its options as in 'attention(layer=5)', each with a plain value"
        ),
    )
