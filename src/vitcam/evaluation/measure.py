"""What a measure is: what is computed of explanations, and all that tables, reports and plots say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vitcam.evaluation.together import Together

Task = Literal["localization", "perturbation", "sanity"]
TASKS: tuple[Task, ...] = ("localization", "perturbation", "sanity")
ALL: tuple[Task, ...] = ("localization", "perturbation")
"""What "all" means: what the paper's tables show. Sanity costs more, and is asked for by its name."""

CONTROLS = ("random", "center", "oracle")
"""The methods that know nothing of the model, and run along with all others."""

Protocol = Literal["paper", "vitcam"]
PROTOCOLS: tuple[Protocol, ...] = ("paper", "vitcam")

Direction = Literal["higher", "lower"]
Axis = Literal["thresholds", "fractions", "depth"]

Shape = Literal["number", "curve"]
"""What stands in a column: a float, or a list of floats. Null where a row has none."""

Numbers = Mapping[str, Any]
"""By column: a tensor or a list with a number, a curve or None for each heatmap."""


ANY_AXES = (2, 3)
"""Of measures that are defined along all axes that inputs have."""


@dataclass(frozen=True)
class Number:
    """A number of each row, or one of all rows together.

    Attributes:
        key: its column, or where it is one of all rows together what it is called in summaries.
        title: in reports.
        sentence: what it is.
        better: which direction is; None if that isn't known.
        unit: its two ends.
        short: its title in the small table that ``vitcam evaluate`` ends with; the title itself if empty, and None if
            only reports show it.
        source: where it is from.
        note: a further sentence.
        protocols: those that store it; () for all of its measure's.
        together: how all rows together give it, or ``module:object`` that says so; None for a column.
        unmoved: of a similarity, what a method doesn't depend on if it is 1: the end of a sentence with which reports
            begin then, "The maps of … stay the same …". See ``unmoved``.

    Example:
        >>> Number("area", "Hot area", "How much of the map is hot.", better="lower").sign
        -1
    """

    key: str
    title: str
    sentence: str
    better: Direction | None = "higher"
    unit: str = "0 to 1"
    short: str | None = ""
    source: str = ""
    note: str = ""
    protocols: tuple[Protocol, ...] = ()
    together: Together | str | None = None
    unmoved: str = ""

    @property
    def sign(self) -> int:
        """What to multiply by, so that more is better; 0 if that isn't known."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]

    @property
    def meaning(self) -> str:
        """What it is, where it is from, and what else there is to say."""
        sourced = f"{self.sentence.removesuffix('.')} ({self.source})." if self.source else self.sentence
        return f"{sourced} {self.note}".rstrip()


@dataclass(frozen=True)
class Curve:
    """A column of curves.

    Attributes:
        key: the column.
        plot: title of the plot that it is drawn in, with others of the same plot; "" if it isn't drawn.
        panel: its own title in there.
        unit: what runs upwards.
        axis: what runs to the right, as ``run.json`` calls it; "depth" in even steps to 1, which no run says.
        axis_title: the same for people.

    Example:
        >>> Curve("areas", "Hot area", "Of all maps", "Area", "thresholds", "Threshold").axis
        'thresholds'
    """

    key: str
    plot: str = ""
    panel: str = ""
    unit: str = ""
    axis: Axis = "fractions"
    axis_title: str = ""


@dataclass(frozen=True)
class Measure:
    """What is computed at once, known by its name.

    Attributes:
        name: what ``--test`` calls it.
        task: whose explanations it measures, which decides what ``compute`` is given.
        compute: from a ``LocalizationCase``, a ``PerturbationCase`` or a ``SanityCase`` to numbers by column; or
            ``module:function``, which is imported when it is needed. No numbers at all where it isn't defined.
        numbers: what matters most first.
        curves: the columns that are curves.
        protocols: those that it is a part of; else it is computed when asked for by name.
        absent: why data or models may have no numbers of it.
        needs_masks: whether it is of photographs with masks only.
        stored: the order of its columns, where it isn't that of numbers and then curves.
        in_any_protocol: whether it can be asked for by name in other protocols, too.
        axes: how many axes inputs may have besides batch and channels: pictures and spectrograms have two, clips and
            volumes three.

    Example:
        >>> from vitcam.evaluation.measures import MEASURES
        >>> MEASURES["saco"].task, MEASURES["saco"].numbers[0].title
        ('perturbation', 'SaCo')
    """

    name: str
    task: Task
    compute: Callable[[Any], Numbers] | str
    numbers: tuple[Number, ...]
    curves: tuple[Curve, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    absent: str = "no explanation has numbers of it"
    needs_masks: bool = False
    stored: tuple[str, ...] = ()
    in_any_protocol: bool = False
    axes: tuple[int, ...] = (2,)

    @property
    def columns(self) -> dict[str, Shape]:
        """Its columns in the order in which they are stored."""
        shapes: dict[str, Shape] = {
            **{number.key: "number" for number in self.numbers if number.together is None},
            **{curve.key: "curve" for curve in self.curves},
        }
        return {key: shapes[key] for key in self.stored or shapes}

    def columns_in(self, protocol: Protocol) -> dict[str, Shape]:
        """The columns that a protocol stores."""
        absent = {each.key for each in self.numbers if each.protocols and protocol not in each.protocols}
        return {key: shape for key, shape in self.columns.items() if key not in absent}

    @property
    def in_brief(self) -> Sequence[Number]:
        """The numbers of a small table: those of all rows together, then in the order of the columns."""
        order = list(self.columns)
        shown = [number for number in self.numbers if number.short is not None]
        return sorted(shown, key=lambda number: order.index(number.key) if number.key in order else -1)


def tasks_of(asked: Task | Literal["all"]) -> tuple[Task, ...]:
    """The tasks that are meant by a name.

    Example:
        >>> tasks_of("all"), tasks_of("sanity")
        (('localization', 'perturbation'), ('sanity',))
    """
    return ALL if asked == "all" else (asked,)


def resolved(reference: Any) -> Any:
    """What ``module:object`` names; anything else is itself."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def is_control(method: str) -> bool:
    """Whether a method, whatever its options, is a control.

    Example:
        >>> is_control("random(seed=1)"), is_control("agcam")
        (True, False)
    """
    return method.split("(")[0] in CONTROLS
