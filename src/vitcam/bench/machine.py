"""The machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch

from vitcam.bench.memory import MIB

INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
}
"""By the name that Linux has for it."""

_NUMBERS = {"family": "cpu family", "model": "model"}


@dataclass(frozen=True)
class Machine:
    """A machine and what runs on it.

    Attributes:
        cpu: its name.
        cores: logical processors that this process may use.
        threads: that torch computes with.
        ram_gib: memory of the machine; None where the system doesn't tell.
        bf16: whether the CPU multiplies bfloat16 matrices (AVX512-BF16 or AMX).
        model: of the processor, by family and number, since several are sold under one name; "" where the system
            doesn't tell.
        instruction_sets: those of ``INSTRUCTION_SETS`` that the processor has; empty where the system doesn't tell.
        torch_uses: the widest that torch's own kernels use.
        device: where the models run; a GPU by its name.
        system: the operating system.
        python, torch: versions.
        libraries: versions of what models come from.
        date: when the benchmark began, in UTC.
    """

    cpu: str
    cores: int
    threads: int
    ram_gib: float | None
    bf16: bool
    model: str
    instruction_sets: tuple[str, ...]
    torch_uses: str
    device: str
    system: str
    python: str
    torch: str
    libraries: Mapping[str, str]
    date: str


def this_machine(device: torch.device, threads: int) -> Machine:
    """Describes the machine that this runs on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    cpu = _cpuinfo()
    flags = set(cpu.get("flags", "").split())
    numbers = {key: cpu[name] for key, name in _NUMBERS.items() if name in cpu}
    return Machine(
        cpu=cpu.get("model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=threads,
        ram_gib=_ram_gib(),
        bf16=bool({"avx512_bf16", "amx_bf16"} & flags),
        model=", ".join(f"{key} {number}" for key, number in numbers.items()),
        instruction_sets=tuple(name for flag, name in INSTRUCTION_SETS.items() if flag in flags),
        torch_uses=torch.backends.cpu.get_cpu_capability(),
        device=name,
        system=platform.platform(terse=True),
        python=platform.python_version(),
        torch=torch.__version__,
        libraries={name: version(name) for name in ("timm", "torchvision")},
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _cpuinfo() -> dict[str, str]:
    """What Linux tells about the first processor; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    lines = (line.partition(":") for line in file.read_text().split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _ram_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB / 1024, 1)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, others don't know the names
        return None
