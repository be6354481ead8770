"""How many workers a cluster has room for, and what each may ask for: only what one of its nodes has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitcam.errors import RunError


@dataclass(frozen=True)
class Placing:
    """What is asked for.

    Attributes:
        workers: how many.
        cpus: of each; so many threads it computes with.
        gpus: of each; below 1 where several share one.
    """

    workers: int
    cpus: int
    gpus: float


def place(nodes: Sequence[Mapping[str, float]], workers: int) -> Placing:
    """Spreads workers over nodes.

    All have as many threads, on which the last digits of what they compute depend.

    Args:
        nodes: of each, how much of ``CPU`` and ``GPU`` it has.
        workers: how many are wanted; 0 for one per GPU, or per CPU where there is no GPU.

    Raises:
        RunError: no node has room for a worker.

    Example:
        >>> two_with_a_gpu = [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}]
        >>> place([{"CPU": 4}, *two_with_a_gpu], 0)
        Placing(workers=2, cpus=8, gpus=1.0)
        >>> place([{"CPU": 4}, {"CPU": 2}], 3)
        Placing(workers=3, cpus=2, gpus=0.0)
    """
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    wanted = workers or sum(gpus) or sum(cpus)
    sharing = -(-wanted // sum(gpus)) if any(gpus) else 0

    def room(threads: int) -> int:
        return sum(
            min(own_cpus // threads, own_gpus * sharing) if sharing else own_cpus // threads
            for own_cpus, own_gpus in zip(cpus, gpus, strict=True)
        )

    most = room(1)
    if not most:
        raise RunError(
            f"no node of the cluster has room for a worker, which needs a CPU{' and a GPU' if sharing else ''}; the "
            f"nodes have {described(nodes)}"
        )
    at_once = min(wanted, most)
    threads = max(each for each in range(1, max(cpus) + 1) if room(each) >= at_once)
    return Placing(at_once, threads, 1 / sharing if sharing else 0.0)


def described(nodes: Sequence[Mapping[str, float]]) -> str:
    """For messages.

    Example:
        >>> described([{"CPU": 4, "memory": 3e9}, {"CPU": 8, "GPU": 1}])
        '4 CPUs; 8 CPUs and 1 GPUs'
    """
    texts = (
        f"{node.get('CPU', 0):g} CPUs" + (f" and {node['GPU']:g} GPUs" if node.get("GPU") else "")
        for node in nodes
    )
    return "; ".join(texts) or "nothing"
