"""The code blocks of the documentation, as their reader sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "docs").rglob("*.md"))]

_MARKER = re.compile(r"<!-- not run: (?P<reason>.+) -->")
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>[\w-]*)(?P<rest>.*)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: behind the fence; "" if there is none.
        text: its lines, without the indentation of the fence.
        line: where it begins on its page, counted from 1.
        not_run: the reason in the comment before it, ``<!-- not run: REASON -->``; "" if there is none.
        output: the text of a block of language ``output`` right behind it; None if there is none.
    """

    language: str
    text: str
    line: int
    not_run: str = ""
    output: str | None = None


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, those of language ``output`` with the blocks that they belong to."""
    blocks: list[Block] = []
    for block in _fenced((REPOSITORY / page).read_text(encoding="utf-8").splitlines()):
        if block.language != "output":
            blocks.append(block)
            continue
        assert blocks, f"{page}:{block.line}: an output without a block before it"
        before = blocks.pop()
        blocks.append(Block(before.language, before.text, before.line, before.not_run, block.text))
    return blocks


def _fenced(lines: list[str]) -> Iterator[Block]:
    reason, inside, start, fence = "", False, 0, None
    for number, line in enumerate(lines, start=1):
        if not inside and (marker := _MARKER.fullmatch(line.strip())):
            reason = marker["reason"]
        elif not inside and (fence := _FENCE.fullmatch(line)):
            inside, start = True, number
        elif inside and line.strip() == "```":
            assert fence is not None
            text = [each.removeprefix(fence["indent"]) for each in lines[start : number - 1]]
            yield Block(fence["language"], "\n".join(text), start + 1, reason)
            inside, reason = False, ""
        elif not inside and line.strip():
            reason = ""
    assert not inside, "a block has no end"
