"""``index.html``: the panels of a run of ``vitcam explain`` on one page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template
from urllib.parse import quote

from vitcam.cli.explaining.manifest import Entry, Explained
from vitcam.cli.explaining.run import ExplainRun
from vitcam.cli.explaining.tables import short_names
from vitcam.cli.terminal import counted
from vitcam.printable import one_line, percent

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:">
<title>$title</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 90rem; padding: 0 1rem }
  h1 { font-size: 1.3rem } figure { margin: 0 } figcaption { overflow-wrap: anywhere }
  main { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)) }
  img { max-width: 100%; height: auto; border-radius: 4px } .failed { color: #c33 } small { opacity: .75 }
</style></head><body>
<h1>$title</h1>
<p>$about</p>
<main>
$figures
</main></body></html>
""")


def contact_sheet(entries: Sequence[Entry], run: ExplainRun) -> bytes:
    """A page that shows the panels beside it, with what was found; those that failed say why."""
    names = short_names([entry.file for entry in entries])
    failed = sum(not isinstance(entry, Explained) for entry in entries)
    about = f"{run.model.spec} · {', '.join(run.methods)}" + (
        f" · {failed} couldn't be explained" if failed else ""
    )
    page = _PAGE.substitute(
        title=counted(len(entries), "photograph"),
        about=_text(about),
        figures="\n".join(_figure(*pair) for pair in zip(entries, names, strict=True)),
    )
    return page.encode("utf-8", "backslashreplace")


def _figure(entry: Entry, name: str) -> str:
    if not isinstance(entry, Explained):
        why = f'<span class="failed">{_text(entry.error)}</span>'
        return f"<figure><figcaption><b>{_text(name)}</b><br>{why}</figcaption></figure>"
    panel = quote(entry.panel.encode("utf-8", "surrogateescape"))
    found = ", ".join(f"{one.name} {percent(one.probability)}" for one in entry.predicted[:3])
    return (
        f'<figure><a href="{panel}"><img loading="lazy" src="{panel}" alt="{_text(f"panel of {name}")}"></a>'
        f"<figcaption><b>{_text(name)}</b><br><small>{_text(found)}</small></figcaption></figure>"
    )


def _text(text: str) -> str:
    return escape(one_line(text))
