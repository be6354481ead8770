"""What a benchmark is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitcam.errors import BenchError

PARTS = ("methods", "compare", "peers", "scaling", "evaluation", "folder", "start")
PRECISIONS = ("fp32", "bf16", "fp16")

MODEL = "timm:vit_base_patch16_224"
"""The model that the targets are set for."""
THREADS = 2
"""The number of threads that the targets are set for."""


@dataclass(frozen=True)
class Settings:
    """What a benchmark is asked to do.

    Attributes:
        model: its specification. Weights are random, unless they are in a file (``timm:NAME@FILE``) or come
            with vitcam.
        batches: how many images go through the model at a time; each is measured.
        threads: that torch computes with.
        precision: of the forward passes.
        methods: names; none means all, at the smallest batch only where one takes minutes; "all" at every batch;
            "brief" at the smallest those of many passes too, which then sample less.
        repeats: rounds.
        parts: which parts, of ``PARTS``.
        device: such as "cuda"; None means the CPU.

    Raises:
        BenchError: a number is too small, or there is no such part or precision.
    """

    model: str = MODEL
    batches: tuple[int, ...] = (1, 8)
    threads: int = THREADS
    precision: Any = "fp32"
    methods: tuple[str, ...] = ()
    repeats: int = 7
    parts: tuple[str, ...] = PARTS
    device: str | None = None

    def __post_init__(self) -> None:
        _check(
            "repeats",
            self.repeats >= 1,
            "1 or more (7 or more give quartiles that mean something)",
            self.repeats,
        )
        _check("threads", self.threads >= 1, "1 or more", self.threads)
        _check("batch", bool(self.batches) and min(self.batches) >= 1, "1 or more", self.batches)
        _check("precision", self.precision in PRECISIONS, _one_of(PRECISIONS), self.precision)
        for part in self.parts:
            _check("part", part in PARTS, _one_of(PARTS), part)
        _check("part", bool(self.parts), _one_of(PARTS), "none")


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}"


def _check(name: str, holds: bool, expected: str, given: object) -> None:
    if not holds:
        raise BenchError(f"{name} must be {expected}; got {given}")
