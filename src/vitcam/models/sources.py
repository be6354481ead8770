"""Where models come from: the schemes that ``load_model`` knows. Imports nothing heavy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from vitcam.errors import ModelError
from vitcam.registry import Registry

Loader = Callable[..., Any]
"""From a ``Spec``, and ``pretrained`` and ``num_classes`` by keyword, to a ``LoadedModel``, or a module to wrap."""


def _nothing(spec: Any, **_options: Any) -> Any:
    raise ModelError(f"Can't load {spec}: the source {spec.scheme!r} doesn't say how: it has no `load`")


@dataclass(frozen=True)
class ModelSource:
    """One kind of model specification.

    Attributes:
        scheme: what stands before the colon.
        patterns: how such a specification is written; with ``@FILE`` behind the name, where a local checkpoint may
            stand.
        gives: what one gets.
        library: the Python package that it needs; "" for none.
        extra: vitcam's extra that installs this package; None if vitcam needs it anyway.
        example: a specification that works (given a network, or the file).
        load: from a :class:`Spec`, ``pretrained`` and ``num_classes`` to a :class:`LoadedModel`, or to a module that
            ``vitcam.wrap`` understands.
        resizable: whether a model with random weights can have a head of any size.
        names: all names that it can load, for searching; None if that isn't known.
        inputs: the kinds of input that its models take.
        answers: the kinds of answer that they give, see ``vitcam.answers.kinds``.
    """

    scheme: str
    patterns: tuple[str, ...] = ()
    gives: str = "a model of an installed package"
    library: str = ""
    extra: str | None = None
    example: str = ""
    load: Loader = _nothing
    resizable: bool = True
    names: Callable[[], list[str]] | None = None
    inputs: tuple[str, ...] = ("picture",)
    answers: tuple[str, ...] = ("classes",)

    @property
    def installed(self) -> bool:
        """Whether the library is there. It isn't imported for that."""
        return not self.library or find_spec(self.library) is not None

    @property
    def remedy(self) -> str:
        """The command that installs the library."""
        return f"pip install 'vitcam[{self.extra}]'" if self.extra else f"pip install {self.library}"

    @property
    def takes_file(self) -> bool:
        """Whether a local checkpoint may stand behind the name."""
        return any("@FILE" in pattern for pattern in self.patterns)


def _later(module: str, function: str, *arguments: Any, **options: Any) -> Any:
    """Each vendor's library takes seconds to import, so only the one that is asked for is imported."""
    return getattr(import_module(f"vitcam.models.{module}"), function)(*arguments, **options)


def _as_source(name: str, given: Any) -> ModelSource:
    """A source of one's own: declared, or a function from a model's name to a model, or a model that is there."""
    if isinstance(given, ModelSource):
        return given if given.scheme == name else replace(given, scheme=name)
    is_class = isinstance(given, type)
    if not is_class and (hasattr(given, "named_parameters") or hasattr(given, "module")):
        return ModelSource(name, (name,), example=name, load=lambda spec, **_: given, resizable=False)
    if not is_class and callable(given):
        patterns = (f"{name}:NAME",) if "name" in _arguments(given) else (name,)
        return ModelSource(name, patterns, example=name, load=partial(_called, given), resizable=False)
    raise ModelError(
        f"the source of models {name} is a {type(given).__name__}: expected a vitcam.models.ModelSource, a "
        "function from a name to a model, a torch.nn.Module or a LoadedModel"
    )


def _called(build: Callable[..., Any], spec: Any, *, pretrained: bool, num_classes: int | None) -> Any:
    del num_classes  # refused before
    arguments = _arguments(build)
    wants_name = "name" in arguments
    if bool(spec.name) != wants_name:
        how = f"a name. Write {spec.scheme}:NAME" if wants_name else f"no name. Write {spec.scheme}"
        raise ModelError(f"Can't load the model {spec}: its function takes {how}.")
    if not pretrained and "pretrained" not in arguments:
        raise ModelError(
            f"Can't load {spec} with random weights: its function takes no argument `pretrained`. Leave "
            "pretrained=False out"
        )
    known = {"pretrained": pretrained, "name": spec.name}
    return build(**{key: value for key, value in known.items() if key in arguments})


def _arguments(function: Callable[..., Any]) -> list[str]:
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]


_OURS = (
    ModelSource(
        scheme="embedded",
        patterns=("embedded:photo",),
        gives="a small ViT for 62 everyday classes that comes with vitcam and needs no network",
        library="timm",
        example="embedded:photo",
        load=partial(_later, "from_embedded", "load_embedded"),
        resizable=False,
        names=lambda: ["photo"],
    ),
    ModelSource(
        scheme="timm",
        patterns=("timm:NAME", "timm:NAME@FILE"),
        gives="any model of timm, with the weights of the hub or of a local checkpoint",
        library="timm",
        example="timm:vit_base_patch16_224",
        load=partial(_later, "from_timm", "load_timm"),
        names=partial(_later, "from_timm", "timm_names"),
        answers=("classes", "values"),
    ),
    ModelSource(
        scheme="torchvision",
        patterns=("torchvision:NAME", "torchvision:NAME/WEIGHTS", "torchvision:NAME@FILE"),
        gives="a classification model of torchvision",
        library="torchvision",
        example="torchvision:vit_b_16",
        load=partial(_later, "from_torchvision", "load_torchvision"),
        names=partial(_later, "from_torchvision", "torchvision_names"),
    ),
    ModelSource(
        scheme="hf",
        patterns=("hf:ID", "hf:/FOLDER"),
        gives="a classifier (clips, sounds too), CLIP, SigLIP, BLIP, backbone, detector or segmenter of Hugging Face",
        library="transformers",
        extra="hf",
        example="hf:google/vit-base-patch16-224",
        load=partial(_later, "from_hf", "load_hf"),
        inputs=("picture", "video", "sound"),
        answers=(
            "classes",
            "texts",
            "values",
            "similarity",
            "detections",
            "regions",
            "matching",
            "next token",
        ),
    ),
    ModelSource(
        scheme="open_clip",
        patterns=(
            "open_clip:ARCH/TAG",
            "open_clip:ARCH@FILE",
            "open_clip:hf-hub:ID",
            "open_clip:local-dir:FOLDER",
        ),
        gives="a CLIP or SigLIP of open_clip, to be asked about texts of your own",
        library="open_clip",
        extra="open-clip",
        example="open_clip:ViT-B-32/laion2b_s34b_b79k",
        load=partial(_later, "from_open_clip", "load_open_clip"),
        resizable=False,
        answers=("texts", "similarity"),
        names=partial(_later, "from_open_clip", "open_clip_names"),
    ),
)

SOURCES: Registry[ModelSource] = Registry(
    "source of models", "vitcam.models", {source.scheme: source for source in _OURS}, _as_source, ModelError
)
"""Where models come from: vitcam's sources, those of installed packages (entry points ``vitcam.models``), and what is
added."""


def describe_models() -> list[ModelSource]:
    """The kinds of models that ``load_model`` can load, and whether what they need is installed.

    Example:
        >>> [source.example for source in describe_models()][0]
        'embedded:photo'
    """
    return list(SOURCES.values())


def find_models(text: str) -> tuple[list[str], list[str]]:
    """The specifications of all models that have these words in their names, without a network.

    Args:
        text: words or parts of words; upper or lower case, in any order. ``SCHEME:`` in front searches one source.

    Returns:
        Specifications, sorted, and the libraries that couldn't be searched since they aren't installed.

    Example:
        >>> find_models("torchvision:vit_b")[0]
        ['torchvision:vit_b_16', 'torchvision:vit_b_32']
    """
    words = text.casefold().split()
    found, missing = [], []
    for source in SOURCES.values():
        if source.names is None:
            continue
        if not source.installed:
            missing.append(source.library)
            continue
        specs = [f"{source.scheme}:{name}" for name in source.names()]
        found += sorted(spec for spec in specs if all(word in spec.casefold() for word in words))
    return found, missing
