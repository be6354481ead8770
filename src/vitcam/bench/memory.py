"""How much memory something takes at its peak."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

MIB = 2**20


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """The most memory that tensors take at any moment of a call, above what was there before it.

    On the CPU, torch's profiler lists every allocation and every release of torch's allocator while ``run`` runs
    once; this is the largest of their running sums. What other libraries take for themselves (oneDNN's and MKL's
    scratch space, numpy, Python) isn't in it, and neither is what the allocator keeps back from the system. On
    CUDA it is ``torch.cuda.max_memory_allocated``.

    Returns:
        None on other devices, which don't tell.

    Example:
        >>> peak_bytes(lambda: torch.empty(100, dtype=torch.uint8), torch.device("cpu"))
        100
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        kept = run()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_bytes())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    taken = peak = 0
    for event in sorted(changes, key=lambda event: event["ts"]):
        taken += event["args"]["Bytes"]
        peak = max(peak, taken)
    return peak
