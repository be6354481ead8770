"""Points of a model: the norms of its blocks, what the blocks return, and any module by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from torch import nn

from vitcam.errors import MethodError
from vitcam.recording.blocks import norms_of
from vitcam.recording.layout import Layout

Seen = TypeVar("Seen")
_NORMS = {"norm1": 1, "norm2": 2}
PLACES = (*_NORMS, "block")


@dataclass(frozen=True)
class Point:
    """Where in a model something is read.

    Attributes:
        layer: the number of a block, negative from the last; or the name of any module. The blocks are the innermost
            members of module lists around the model's attention calls, those that hold norms, in the order of the
            calls: in a hierarchical model those of all its stages.
        at: where in that block: at the output of its first norm that runs ("norm1") or of its second ("norm2", those
            of the attention itself not counted), or at what it returns ("block"). Of a module that is named it is the
            output.

    Raises:
        MethodError: there is no such place in a block.
    """

    layer: int | str = -1
    at: str = "norm1"

    def __post_init__(self) -> None:
        """Checks the place."""
        if self.at not in PLACES:
            raise MethodError(
                f"there is no at={self.at!r} in a block: give one of {', '.join(map(repr, PLACES))}, or name any "
                "module as the layer"
            )
        if isinstance(self.layer, str) and self.at != "norm1":
            raise MethodError(
                f"at={self.at!r} is a place in a block that is counted by number; the layer {self.layer!r} is a "
                "module by its name, whose output is read. Leave out at="
            )

    def __str__(self) -> str:
        if isinstance(self.layer, str):
            return f"the output of {self.layer}"
        block = "its last block" if self.layer == -1 else f"its block {self.layer}"
        return {"norm1": f"the first norm of {block}", "norm2": f"the second norm of {block}"}.get(
            self.at, f"the output of {block}"
        )


@dataclass(frozen=True)
class Site:
    """The modules at a point.

    Attributes:
        block: the module whose calls are counted; None if there is none.
        modules: those any of which may be at the point, while the block runs.
        number: which of their outputs it is.
        call: which of the block's calls, of how many that make the same attention call; None: the last.
        once: whether there may be one call only, or it can't be told which is meant.
    """

    block: nn.Module | None
    modules: tuple[nn.Module, ...]
    number: int = 1
    call: tuple[int, int] | None = None
    once: bool = False

    def chosen(self, each: Sequence[Seen | None]) -> Seen | None:
        """Of what was seen at each of the block's calls, what belongs to the point."""
        if not each or (self.once and len(each) > 1):
            return None
        return each[-1] if self.call is None else each[self.call[0] * len(each) // self.call[1]]


def site_of(model: nn.Module, layout: Layout, point: Point) -> Site:
    """Looks a point up in a model.

    Raises:
        MethodError: there is no such block or module, or the block's output can't be told.
    """
    if isinstance(point.layer, str):
        module = _module(model, point.layer)
        return Site(module, (module,), once=True)
    blocks = _blocks(model, layout)
    if not -len(blocks) <= point.layer < len(blocks):
        raise MethodError(
            f"there is no layer {point.layer}: {type(model).__name__} has the blocks 0 to {len(blocks) - 1} "
            "(negative: from the last). Any module can be given by its name, too"
            if blocks
            else f"no blocks were found in {type(model).__name__}: give the name of a module as the layer"
        )
    name, call = blocks[point.layer]
    block = model.get_submodule(name)
    if point.at != "block":
        inside = [site.name for site in layout.calls] if point.at == "norm2" else None
        return Site(block, tuple(_norms(name, block, inside)), _NORMS[point.at], call)
    if not layout.obstacle and layout.behind is None and name not in layout.blocks:
        raise MethodError(
            f"at='block' isn't defined for {type(model).__name__}: {name} isn't a whole block of it, but a part. "
            "Give the name of a module whose output is to be read, as the layer"
        )
    return Site(block, (block,), 1, call)


def _blocks(model: nn.Module, layout: Layout) -> list[tuple[str, tuple[int, int] | None]]:
    """The names of the blocks around the attention calls, and which of a block's calls it is, in their order.

    A block is the innermost member of a module list that has norms. The blocks of a layout aren't used: in a
    hierarchical model they are its stages, or the first of them. A block that makes several attention calls is one; a
    block that is called several times is several (a second image, layers that share weights).
    """
    # Calls that are no layers of the image, as of a reference that the model looks at besides, are counted too.
    names = [site.name for site in layout.calls]
    found: dict[tuple[str, int], tuple[str, tuple[int, int] | None]] = {}
    for place, site in enumerate(layout.calls):
        if site.stream is None or site.pools:
            continue
        call = names[:place].count(site.name)
        if name := _block_around(model, site.name):
            found.setdefault((name, call), (name, (call, names.count(site.name))))
    blocks = list(found.values())
    if layout.behind is not None and (name := _block_around(model, layout.behind)):
        blocks = [each for each in blocks if each[0] != name]
        blocks.append((name, None))
    return blocks


def _block_around(model: nn.Module, name: str) -> str:
    """The innermost member of a module list around a module that has norms; if none has, the innermost; or ""."""
    parts, innermost = name.split("."), ""
    for end in range(len(parts), 0, -1):
        candidate, parent = ".".join(parts[:end]), ".".join(parts[: end - 1])
        if isinstance(model.get_submodule(parent), nn.ModuleList | nn.Sequential):
            if _norms(candidate, model.get_submodule(candidate), None):
                return candidate
            innermost = innermost or candidate
    return innermost


def _norms(name: str, block: nn.Module, attention: Sequence[str] | None) -> list[nn.Module]:
    """The norms of a block; where modules of attention are given, those without norms inside of them or it."""
    norms = norms_of(block)
    if attention is None:
        return list(norms.values())
    own = [path for path in norms if not any(f"{name}.{path}".startswith(f"{each}.") for each in attention)]
    return [norms[path] for path in own if path and not any(other.startswith(f"{path}.") for other in norms)]


def _module(model: nn.Module, name: str) -> nn.Module:
    names = [each for each, _ in model.named_modules() if each]
    if name in names:
        return model.get_submodule(name)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    raise MethodError(
        f"there is no layer {name!r}: {type(model).__name__} has no module of that name"
        + (f"; there are {', '.join(near)}" if near else "")
        + ". Give the number of a block, or a name among those of model.named_modules()"
    )
