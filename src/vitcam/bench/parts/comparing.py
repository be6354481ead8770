"""Methods that are compared share their passes: what that saves."""

from __future__ import annotations

from collections.abc import Iterator

from vitcam.bench.limits import COMPARED, SHARED, Limit
from vitcam.bench.measuring import Bench
from vitcam.bench.parts.methods import FORWARD, forward_entries
from vitcam.bench.results import Group
from vitcam.bench.timing import Entry


def comparing(bench: Bench) -> Iterator[Group]:
    """One group per batch: five methods, each by itself and all in one call."""
    subject = bench.subject
    for batch in dict.fromkeys(bench.settings.batches):
        images = subject.images(batch)
        entries = [
            *forward_entries(bench, images),
            *(Entry(name, subject.explain(images, name), batch, FORWARD) for name in COMPARED),
            Entry(
                "compare, all five",
                subject.compare(images, COMPARED),
                batch,
                FORWARD,
                (Limit("time", SHARED, of=COMPARED),),
            ),
        ]
        title = f"Compare, batch {batch}, {bench.settings.precision}"
        yield Group("compare", title, bench.measure(title, entries))
