"""A tab per kind of input: which it is of, and which models answer there."""

from __future__ import annotations

from dataclasses import dataclass

from vitcam.errors import ModelError
from vitcam.inputs import KINDS, PICTURE, InputKind
from vitcam.models import LoadedModel, Preprocessing


@dataclass(frozen=True)
class Tab:
    """A tab of the page.

    Attributes:
        name: what stands on it.
        noun: one of what it takes.
        kind: what that is.
    """

    name: str
    noun: str
    kind: InputKind

    def named(self, part: str) -> str:
        """The name of a part of this tab, by which the page's own scripts and styles know it."""
        return part if self is PHOTOGRAPHS else f"{self.kind.name}-{part}"


PHOTOGRAPHS = Tab("Photograph", "photograph", PICTURE)
"""Of what most models take: pictures in red, green and blue."""

TABS = {
    kind.name: Tab(kind.tab, kind.name, kind)
    for kind in sorted(KINDS.values(), key=lambda one: one is PICTURE)
}
"""Of everything else, by the names of the kinds; the last is of pictures, those of other bands."""


def tab_of(loaded: LoadedModel) -> Tab:
    """Where a model answers, by what its preprocessing prepares.

    Example:
        >>> tab_of(vitcam.load_model("embedded:photo")).name
        'Photograph'
    """
    preprocessing = loaded.preprocessing
    return PHOTOGRAPHS if isinstance(preprocessing, Preprocessing) else TABS[preprocessing.kind.name]


def check_tab(loaded: LoadedModel, tab: Tab) -> None:
    """Refuses a model in another tab than its own.

    Raises:
        ModelError: it says which kind of input the model takes, and where.
    """
    own = tab_of(loaded)
    if own is not tab:
        prepared = "" if own is PHOTOGRAPHS else f", as {type(loaded.preprocessing).__name__} prepares it"
        bands = " of other bands than red, green and blue" if tab is TABS[PICTURE.name] else ""
        raise ModelError(
            f"{loaded.spec} takes a {own.noun}{prepared}: it answers in the tab {own.name}. This is the tab "
            f"{tab.name}, for models that take a {tab.noun}{bands}."
        )
