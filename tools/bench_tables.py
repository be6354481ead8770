"""Keeps what `vitcam bench` found, a file per processor, and makes the tables of README.md and the docs of them.

vitcam bench --part methods --part compare --json bench.json
python tools/bench_tables.py bench.json docs/bench/PROCESSOR.json   # keep it; a file that is there gets what is new
python tools/bench_tables.py                                        # write the tables
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "docs" / "bench"
BEGIN, END = "<!-- bench tables: begin (tools/bench_tables.py) -->", "<!-- bench tables: end -->"
BATCHES = ("1", "8")
SHORT = (
    "agcam",
    "agcam, 5 classes",
    "agcam, bf16",
    "rollout",
    "gradcam",
    "legrad",
    "gae",
    "attnlrp",
    "lrp",
    "compare, all five",
)
"""Rows of the overview."""


def keep(bench: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of a processor's file: of what `vitcam bench --json` wrote, the medians of its ratios.

    Args:
        bench: the object of JSON.
        before: what the file holds; its rows stay unless they were measured again.
    """
    machine, settings = bench["machine"], bench["settings"]
    kept: dict[str, Any] = {
        "processor": machine["cpu"],
        "model": machine["model"],
        "instruction_sets": machine["instruction_sets"],
        "torch_uses": machine["torch_uses"],
        "threads": machine["threads"],
        "versions": {"vitcam": bench["vitcam"], "torch": machine["torch"], **machine["libraries"]},
        "date": machine["date"][:10],
        "rounds": settings["repeats"],
        "of": settings["model"],
        "precision": settings["precision"],
        "note": (before or {}).get("note", ""),
        "rows": {name: dict(of) for name, of in (before or {}).get("rows", {}).items()},
    }
    known: set[tuple[str, int]] = set()
    for row in (row for group in bench["groups"] for row in group["rows"]):
        if row["ratio"] is None or (row["name"], row["images"]) in known:  # of several groups, the first
            continue
        known.add((row["name"], row["images"]))
        numbers = {"own": row["ratio"], "fastest": row["fastest_ratio"]}
        if row["name"] == "agcam, bf16":
            numbers["own bf16"] = _target(row, "time")
        kept["rows"].setdefault(row["name"], {})[str(row["images"])] = {
            name: round(value, 3) for name, value in numbers.items() if value is not None
        }
    return kept


def _target(row: Mapping[str, Any], what: str) -> float | None:
    return next((target["value"] for target in row["targets"] if target["what"] == what), None)


def read_results() -> list[dict[str, Any]]:
    """What the files hold, the newest first."""
    files = sorted(RESULTS.glob("*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return sorted(found, key=lambda each: str(each["date"]), reverse=True)


def overview(results: Sequence[Mapping[str, Any]]) -> str:
    """One table of the rows of ``SHORT``: of each processor the ratio to its own pass, and to the fastest way."""
    columns = [(each, batch) for each in results for batch in BATCHES if _knows(each, batch)]
    titles = [f"{each['processor']} ({_kind(each)}), batch {batch}" for each, batch in columns]
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'--:|' * len(columns)}"]
    for name in SHORT:
        found = [each["rows"].get(name, {}).get(batch, {}) for each, batch in columns]
        if any("own" in numbers for numbers in found):
            cells = [" / ".join(_number(numbers, key) for key in ("own", "fastest")) for numbers in found]
            lines.append(f"| `{name}` | {' | '.join(cell.replace('– / –', '–') for cell in cells)} |")
        if any("own bf16" in numbers for numbers in found):
            cells = [_number(numbers, "own bf16") for numbers in found]
            lines.append(f"| `{name}`, of the model's own bf16 pass | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _knows(result: Mapping[str, Any], batch: str) -> bool:
    return any(batch in result["rows"].get(name, {}) for name in SHORT)


def _kind(result: Mapping[str, Any]) -> str:
    """What tells a processor from others of its name."""
    return result["model"] or result["instruction_sets"][-1]


def in_full(results: Sequence[Mapping[str, Any]]) -> str:
    """A table per processor, with every row."""
    return "\n".join(line for each in results for line in (*_table(each), ""))


def _table(result: Mapping[str, Any]) -> list[str]:
    known = "; ".join(filter(None, (result["model"], ", ".join(result["instruction_sets"]))))
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    rounds = f"medians of {result['rounds']} rounds" if result["rounds"] else "medians"
    uses = f", torch uses {result['torch_uses']}" if result["torch_uses"] else ""
    dated = ", ".join(filter(None, (result["date"], rounds)))
    lines = [
        f"**{result['processor']}**{f' ({known})' if known else ''}{uses}; {result['threads']} threads; {versions}; "
        f"{dated}.{' ' + result['note'] if result['note'] else ''}",
        "",
        "| | batch 1: own | fastest | batch 8: own | fastest |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, of_batches in result["rows"].items():
        cells = [_number(of_batches.get(batch, {}), key) for batch in BATCHES for key in ("own", "fastest")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
        if any("own bf16" in of_batches.get(batch, {}) for batch in BATCHES):
            cells = [
                text for batch in BATCHES for text in (_number(of_batches.get(batch, {}), "own bf16"), "")
            ]
            lines.append(f"| … of the model's own bf16 pass | {' | '.join(cells)} |")
    return lines


def _number(numbers: Mapping[str, float], key: str) -> str:
    return f"{numbers[key]:.2f}" if key in numbers else "–"


def with_tables(text: str, made: str, begin: str = BEGIN, end: str = END) -> str:
    """A page with what stands between two comments made anew."""
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"the page has no {begin} or no {end}")
    return f"{before}{begin}\n\n{made}\n{end}{after}"


def write_pages() -> None:
    """Writes the tables into the pages."""
    for name, make in PAGES.items():
        page = REPOSITORY / name
        page.write_text(with_tables(page.read_text(encoding="utf-8"), make(read_results())), encoding="utf-8")


PAGES = {"README.md": overview, "docs/benchmarks.md": in_full}
"""Where tables stand, and what makes them."""


if __name__ == "__main__":
    if len(sys.argv) == 3:
        source, target = map(Path, sys.argv[1:])
        earlier = json.loads(target.read_text(encoding="utf-8")) if target.exists() else None
        found = keep(json.loads(source.read_text(encoding="utf-8")), earlier)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{json.dumps(found, indent=1, ensure_ascii=False)}\n", encoding="utf-8")
    write_pages()
