"""What can be added: vitcam's own entries by name, those of installed packages, and what ``module:object`` names."""

from __future__ import annotations

import ast
import difflib
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from vitcam.errors import VitcamError, VitcamWarning

Entry = TypeVar("Entry")

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(name: str) -> bool:
    """Whether a name is of the form ``module:object``.

    Example:
        >>> is_reference("mypackage.mymap:METHOD"), is_reference("agcam")
        (True, False)
    """
    return _REFERENCE.fullmatch(name) is not None


def split_reference(text: str) -> tuple[str, str]:
    """``module:object`` at the beginning of a text, and what stands behind it and a colon; "" for what isn't there.

    Example:
        >>> split_reference("mypackage.mydata:KIND:/data/mine"), split_reference("mypackage.mymap:METHOD")
        (('mypackage.mydata:KIND', '/data/mine'), ('mypackage.mymap:METHOD', ''))
        >>> split_reference("agcam")
        ('', '')
    """
    module, _, rest = text.partition(":")
    name, _, behind = rest.partition(":")
    reference = f"{module}:{name}"
    return (reference, behind) if is_reference(reference) else ("", "")


def split_options(name: str, problem: VitcamError) -> tuple[str, dict[str, Any]]:
    """A name and the options in brackets behind it.

    Args:
        name: such as ``"attention(layer=5)"``.
        problem: what is raised if it can't be read.

    Example:
        >>> split_options("attention(layer=5)", VitcamError("can't be read"))
        ('attention', {'layer': 5})
    """
    bare, bracket, _ = name.partition("(")
    bare = bare.strip()
    if not bracket:
        return bare, {}
    try:
        call = ast.parse(f"method{name[name.index(bracket) :].strip()}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise problem
        return bare, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords if k.arg}
    except (SyntaxError, ValueError) as error:
        raise problem from error


class Registry(MutableMapping[str, Entry], Generic[Entry]):
    """Entries by name: vitcam's, then those of installed packages (entry points), then what is added.

    Packages are looked through when a name is unknown or all names are asked for. What can't be loaded is named in a
    warning and left out, and ``find`` says why.

    Args:
        what: one of them, for messages.
        group: of the entry points.
        entries: vitcam's own.
        fit: from a name and an object to an entry of that name; raises ``error`` if it can't be one.
        error: what is raised.
        families: by the word before a colon, what makes an entry from the word behind it, with options in brackets if
            it takes any.

    Attributes:
        ours: the names of vitcam's own.
        broken: why entries of installed packages can't be used, by name.
    """

    def __init__(
        self,
        what: str,
        group: str,
        entries: Mapping[str, Entry],
        fit: Callable[[str, Any], Entry],
        error: type[VitcamError],
        families: Mapping[str, Callable[[str], Any]] | None = None,
    ) -> None:
        self.ours = tuple(entries)
        self._what, self._group, self._fit, self._error = what, group, fit, error
        self._entries = dict(entries)
        self._families = dict(families or {})
        self._own = tuple(entries.values())
        self.broken: dict[str, str] = {}
        self._seen: set[tuple[str, str]] = set()
        self._path: tuple[str, ...] | None = None

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            self._look()
        return self._entries[name]

    def __setitem__(self, name: str, entry: Any) -> None:
        self._entries[name] = self._fit(name, entry)

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._look()
        return len(self._entries)

    def is_ours(self, entry: Entry) -> bool:
        """Whether an entry came with vitcam, and is what it was."""
        return any(entry is own for own in self._own)

    def can_find(self, name: str) -> bool:
        """Whether ``find`` has more to say of a name than that there is none of it."""
        family = name.partition(":")[0] in self._families and ":" in name
        return name in self or family or is_reference(name) or name in self.broken

    def find(self, name: str) -> Entry:
        """An entry by its name; ``module:object`` is imported, and known by that name from then on.

        Raises:
            VitcamError: of the registry's kind: there is none, or it can't be loaded.
        """
        if name in self:
            return self._entries[name]
        if name in self.broken:
            raise self._error(self.broken[name])
        module, colon, attribute = name.partition(":")
        if colon and module in self._families:
            self[name] = self._families[module](attribute)
            return self._entries[name]
        if is_reference(name) and not any(each.startswith(f"{module}:") for each in self.ours):
            self[name] = self._imported(name, module, attribute)
            return self._entries[name]
        hint = f" Did you mean {near!r}?" if (near := self.nearest(name)) else ""
        raise self._error(
            f"there is no {self._what} {name!r}.{hint} The {self._what}s are {', '.join(self)}."
        )

    def nearest(self, name: str) -> str | None:
        """The name that a person would take it for: the same in other letters, or nearly the same."""
        near = difflib.get_close_matches(_plain(name), map(_plain, self), n=1)
        alike = [each for each in self if near and _plain(each) == near[0]]
        return next(iter(difflib.get_close_matches(name.lower(), alike, n=1, cutoff=0)), None)

    def _look(self) -> None:
        """Loads what installed packages offer, each once."""
        if self._path == tuple(sys.path):
            return
        from importlib.metadata import entry_points  # which takes as long as all else of a command's start

        self._path = tuple(sys.path)
        for point in entry_points(group=self._group):
            if (point.name, point.value) in self._seen:
                continue
            self._seen.add((point.name, point.value))
            try:
                if point.name in self.ours:
                    raise self._error("vitcam has one of that name")
                self[point.name] = point.load()
            except (Exception, SystemExit) as error:
                package = f" of the package {point.dist.name}" if point.dist else ""
                why = (
                    f"the {self._what} {point.name!r}{package} ({point.value}) can't be used: {_cause(error)}"
                )
                self.broken[point.name] = why
                warnings.warn(f"{why}. It is left out", VitcamWarning, stacklevel=4)

    def _imported(self, name: str, module: str, attribute: str) -> Any:
        try:
            try:
                found: Any = import_module(module)
            except ModuleNotFoundError as error:
                if not _is_of(module, error) or str(Path.cwd()) in sys.path:
                    raise
                sys.path.append(str(Path.cwd()))  # as for python -m
                found = import_module(module)
        except ModuleNotFoundError as error:
            if not _is_of(module, error):
                raise self._error(f"the {self._what} {name} can't be imported: {_cause(error)}") from error
            raise self._error(
                f"there is no module {error.name!r} for the {self._what} {name}: it must be installed, or lie in the "
                "current folder or in one of PYTHONPATH"
            ) from error
        except (Exception, SystemExit) as error:
            raise self._error(f"the {self._what} {name} can't be imported: {_cause(error)}") from error
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise self._error(f"the module {module} has no {attribute}, which {name} should be")
            found = getattr(found, part)
        return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9:]", "", name.casefold())


def _is_of(module: str, error: ModuleNotFoundError) -> bool:
    """Whether what wasn't found is the module itself, and not something that it imports."""
    return error.name is not None and f"{module}.".startswith(f"{error.name}.")


def _cause(error: BaseException) -> str:
    return str(error) if isinstance(error, VitcamError) else f"{type(error).__name__}: {error}"
