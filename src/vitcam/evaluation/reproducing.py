"""Papers' evaluations in one call: which model, methods and protocol, and how the paper lays out its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitcam.errors import RunError
from vitcam.evaluation.datasets.kinds import split_spec
from vitcam.evaluation.measure import Protocol, Task
from vitcam.evaluation.runner import evaluate
from vitcam.models import LoadedModel

Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By task, method and column, as in a run's ``summary.json``."""


@dataclass(frozen=True)
class Table:
    """How a paper lays out the numbers of a task.

    Attributes:
        task: whose.
        columns: keys of ``summary.json``, with the paper's headings.
    """

    task: Task
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Reproduction:
    """What a paper evaluated.

    Attributes:
        paper: where it is from.
        methods: those that it compares, in the order of its tables.
        protocol: by which.
        tables: in its order.
        models: for each kind of dataset the paper's model, where anyone can load it; for others one must be given.
    """

    paper: str
    methods: tuple[str, ...]
    protocol: Protocol
    tables: tuple[Table, ...]
    models: Mapping[str, str]


REPRODUCTIONS = {
    "agcam": Reproduction(
        paper="arXiv 2402.04563",
        methods=("rollout", "lrp", "agcam"),
        protocol="paper",
        tables=(
            Table(
                "localization",
                {
                    "pixel_accuracy": "pixel acc.",
                    "iou": "IoU",
                    "dice": "Dice (F1)",
                    "precision": "precision",
                    "recall": "recall",
                },
            ),
            Table("perturbation", {"auc_lerf": "LeRF ↑", "auc_morf": "MoRF ↓", "abpc": "ABPC ↑"}),
        ),
        models={"imagenet": "timm:vit_base_patch16_224"},
    ),
}
"""By the name of the method that the paper is about."""


def find_reproduction(name: str) -> Reproduction:
    """What is known of a paper's evaluation.

    Raises:
        RunError: there is none of that name.

    Example:
        >>> find_reproduction("agcam").methods
        ('rollout', 'lrp', 'agcam')
    """
    if name not in REPRODUCTIONS:
        raise RunError(f"no paper is known as {name!r}. Those that are: {', '.join(REPRODUCTIONS)}")
    return REPRODUCTIONS[name]


def reproduce(
    name: str,
    data: str,
    output: str | Path,
    *,
    model: str | LoadedModel = "",
    more: Sequence[str] = (),
    **options: Any,
) -> dict[str, Any]:
    """Repeats a paper's evaluation on a dataset, as one resumable run: see :func:`evaluate`.

    Both of the tasks that its tables show, by its protocol, of the methods that it compares.

    Args:
        name: the paper's: "agcam".
        data: ``KIND:PATH``.
        output: the run's folder; the same call goes on with it.
        model: a specification, or a loaded model; "" for the paper's.
        more: methods besides the paper's.
        **options: of ``evaluate``, such as ``limit``, ``budget`` or ``device``.

    Raises:
        RunError: there is no such paper, or its model for this dataset isn't one that anybody can load, so that one
            must be given; and as ``evaluate``.
        DatasetError, ModelError, MethodError: as from ``evaluate``.

    Example:
        >>> summary = reproduce("agcam", "folder:things", "again", model="embedded:photo", limit=2, steps=2)
        >>> list(summary), list(summary["perturbation"])
        (['localization', 'perturbation'], ['rollout', 'lrp', 'agcam', 'random', 'center'])
    """
    paper = find_reproduction(name)
    kind = split_spec(data)[0]
    if not model and kind not in paper.models:
        raise RunError(
            f"the weights that {paper.paper} has for {kind} can't be had from any source of models: name one that "
            "knows its classes, such as --model timm:vit_base_patch16_224+HEAD.safetensors with a head of "
            "`vitcam train-head`"
        )
    methods = list(dict.fromkeys([*paper.methods, *more]))
    return evaluate(
        "all", data, model or paper.models[kind], methods, output, protocol=paper.protocol, **options
    )


@dataclass(frozen=True)
class Reproduced:
    """One number of a table: what was measured, its interval, and what the paper has; None where there is none."""

    ours: float | None
    interval: tuple[float, float] | None
    theirs: float | None


def laid_out(
    name: str, summary: Figures, published: Any = None
) -> dict[Task, dict[str, dict[str, Reproduced]]]:
    """A run's numbers in the layout of the paper's tables, the paper's own beside them.

    Args:
        name: the paper's.
        summary: of the run.
        published: the paper's figures in the form of a ``summary.json``, fractions in 0..1.

    Returns:
        By task, method (the paper's first, then others in the run's order) and the paper's heading.

    Raises:
        RunError: ``published`` has another task, or a column that the table hasn't.

    Example:
        >>> found = laid_out("agcam", {"perturbation": {"agcam": {"abpc": 0.25}}})
        >>> found["perturbation"]["agcam"]["ABPC ↑"]
        Reproduced(ours=0.25, interval=None, theirs=None)
    """
    paper = find_reproduction(name)
    published = {} if published is None else published
    check_published(paper, published)
    tables: dict[Task, dict[str, dict[str, Reproduced]]] = {}
    for table in paper.tables:
        ours, theirs = summary.get(table.task, {}), published.get(table.task, {})
        methods = [each for each in (*paper.methods, *ours, *theirs) if each in ours or each in theirs]
        if methods:
            tables[table.task] = {
                method: {
                    heading: _cell(ours.get(method, {}), theirs.get(method, {}), key)
                    for key, heading in table.columns.items()
                }
                for method in dict.fromkeys(methods)
            }
    return tables


def _cell(ours: Mapping[str, Any], theirs: Mapping[str, Any], key: str) -> Reproduced:
    interval = ours.get("intervals", {}).get(key)
    return Reproduced(
        ours.get(key), None if interval is None else (interval[0], interval[1]), theirs.get(key)
    )


def check_published(paper: Reproduction, published: Any) -> None:
    """Makes sure that figures are in the form of a ``summary.json``, of the paper's columns, and fractions.

    Raises:
        RunError: they aren't; the message says what is wrong.

    Example:
        >>> check_published(find_reproduction("agcam"), {"perturbation": {"agcam": {"abpc": 0.2}}})
    """
    columns = {table.task: table.columns for table in paper.tables}
    form = '{"localization": {"agcam": {"iou": 0.5}}}'
    if not isinstance(published, Mapping):
        raise RunError(f"published figures are by task, method and column, as in {form}; got {published!r}")
    for task, methods in published.items():
        if task not in columns:
            raise RunError(f"{paper.paper} has no table of {task!r}. Those that it has: {', '.join(columns)}")
        if not isinstance(methods, Mapping) or not all(
            isinstance(each, Mapping) for each in methods.values()
        ):
            raise RunError(f"published figures are by task, method and column, as in {form}; got {methods!r}")
        for method, numbers in methods.items():
            for key, value in numbers.items():
                if key not in columns[task]:
                    known = ", ".join(columns[task])
                    raise RunError(f"the table of {task} has no column {key!r}. Its columns are: {known}")
                if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
                    raise RunError(
                        f"{key} of {method} is a fraction, at most 1; got {value!r}. Divide percent by 100"
                    )
