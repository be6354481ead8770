"""What visitors of the app may do, and how much of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from vitcam.errors import MethodError, ModelError, TargetError
from vitcam.inputs.limits import ReadingLimits
from vitcam.methods import METHODS, canonical_name, find_method
from vitcam.models.spec import parse_spec, split_head

EMBEDDED = "embedded:photo"

MAX_METHODS = 8
MAX_CLASSES = 8
MAX_PROMPTS = 50
MAX_TEXT = 300
"""Characters of a class's name, a prompt, or a method with its options."""


@dataclass(frozen=True)
class Policy:
    """What visitors may do.

    Attributes:
        specs: the models that are offered; the first is the one to begin with.
        trusting: whether visitors may also type any model's specification, which downloads models and reads
            checkpoints of the server, and options of methods, which decide how long they take.
        max_megapixels: of a photograph.
        device: where models run; None: the CPU.
    """

    specs: tuple[str, ...]
    trusting: bool
    max_megapixels: float = 50
    device: str | None = None

    @property
    def limits(self) -> ReadingLimits:
        """What reading other files than photographs may cost: as much memory as such a photograph, as floats."""
        return ReadingLimits(memory=int(self.max_megapixels * 12e6), work=int(self.max_megapixels * 600e6))

    @property
    def offers_others(self) -> bool:
        """Whether there may be models of other kinds of input than photographs."""
        return self.trusting or any(spec != EMBEDDED for spec in self.specs)

    def checked_model(self, spec: str | None, noun: str = "photograph") -> str:
        """The specification, if visitors may load it.

        Args:
            spec: of the model.
            noun: what it is to take, for the message.

        Raises:
            ModelError: it is empty, or not among the models offered and visitors aren't trusted.
        """
        spec = (spec or "").strip()
        if not spec:
            raise ModelError(f"No model is chosen. Choose one that takes a {noun}.")
        if spec not in self.specs and not self.trusting:
            raise ModelError(
                f"This server offers only {', '.join(self.specs)}. Whoever runs it can offer other models: "
                f"vitcam app --model SPEC."
            )
        return spec

    def checked_methods(self, names: Sequence[str]) -> tuple[str, ...]:
        """The methods' canonical names, each once.

        Raises:
            MethodError: there is no such method, none or too many are chosen, or one has options and visitors
                aren't trusted.
        """
        if any(len(name) > MAX_TEXT for name in names):
            raise MethodError(f"A method with its options has at most {MAX_TEXT} characters.")
        for name in names:
            if not self.trusting and name.partition("(")[0].strip() not in METHODS:
                raise MethodError(  # before anything is imported for a visitor
                    f"This server has no method {name!r}. Its methods are {', '.join(METHODS)}."
                )
        chosen = [find_method(name) for name in names]
        for method, options in chosen:
            if options != method.options and not self.trusting:
                raise MethodError(
                    f"This server takes methods as they are, without options: {method.name}, not "
                    f"{canonical_name(method, options)}."
                )
        known = tuple(dict.fromkeys(canonical_name(*one) for one in chosen))
        if not known:
            raise MethodError("No method is chosen. Choose at least one, such as agcam.")
        if len(known) > MAX_METHODS:
            raise MethodError(
                f"At most {MAX_METHODS} methods fit beside each other; {len(known)} are chosen."
            )
        return known


def policy_for(host: str, models: Sequence[str], *, proxied: bool = False, **settings: object) -> Policy:
    """The policy of an app that listens on this host: visitors are trusted if they can only be on this machine.

    Args:
        host: where it listens.
        models: what is offered besides the embedded model.
        proxied: whether a proxy passes visitors on, who may then be anywhere.
        **settings: as in ``Policy``.

    Raises:
        ModelError: one of the models can't be a specification.

    Example:
        >>> policy_for("0.0.0.0", ["timm:vit_tiny_patch16_224"]).trusting
        False
    """
    for spec in models:
        parse_spec(split_head(spec)[0])  # a slip of the pen is told now, not when a visitor chooses the model
    return Policy(tuple(dict.fromkeys([*models, EMBEDDED])), is_loopback(host) and not proxied, **settings)  # type: ignore[arg-type]  # as in Policy


def is_loopback(host: str) -> bool:
    """Whether only programs of the same machine can reach this host.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def texts_of(typed: str | Sequence[str] | None) -> tuple[str, ...]:
    """The texts that a visitor typed, each once; in one text, one per line.

    Raises:
        TargetError: there are too many, or one is too long.

    Example:
        >>> texts_of(["a cat", " a dog "])
        ('a cat', 'a dog')
    """
    text = typed if isinstance(typed, str) else "\n".join(map(str, typed or ()))
    lines = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if len(lines) > MAX_PROMPTS:
        raise TargetError(f"At most {MAX_PROMPTS} classes or prompts can be given; these are {len(lines)}.")
    for line in lines:
        if len(line) > MAX_TEXT:
            raise TargetError(
                f"A class or prompt has at most {MAX_TEXT} characters; {line[:40]!r}… has {len(line)}."
            )
    return lines
