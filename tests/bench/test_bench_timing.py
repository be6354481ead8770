"""Entries that are timed in turns, by a clock of the test's own; and rows of them."""

from __future__ import annotations

import pytest
import torch
from bench_fakes import Clock

from vitcam.bench import timing
from vitcam.bench.limits import Limit
from vitcam.bench.measuring import rows_of
from vitcam.bench.memory import MIB, peak_bytes
from vitcam.bench.timing import Entry, Interrupted, Outcome, interleave
from vitcam.errors import ImageError


def fails(error):
    def run():
        raise error

    return run


def test_the_warm_up_does_not_count():
    clock = Clock()
    outcomes = interleave([clock.entry("a", 9.0, 1.0, 2.0), clock.entry("b", 4.0, 3.0)], 2, clock=clock)
    assert outcomes == {"a": Outcome((1.0, 2.0)), "b": Outcome((3.0, 3.0))}


def test_every_round_has_every_entry_in_another_order():
    clock, names = Clock(), list("abcdef")
    interleave([clock.entry(name, 1.0) for name in names], 6, clock=clock)
    assert clock.ran[:6] == names
    rounds = [clock.ran[start : start + 6] for start in range(6, 42, 6)]
    assert all(sorted(each) == names for each in rounds)
    assert len({tuple(each) for each in rounds}) > 3


def interrupts(clock, name, call):
    """An entry during whose nth call somebody presses Ctrl-C."""
    entry = clock.entry(name, 1.0)

    def run():
        entry.run()
        if clock.ran.count(name) == call:
            raise KeyboardInterrupt

    return Entry(name, run)


def test_interrupted_it_has_the_rounds_that_are_complete():
    clock = Clock()
    entries = [clock.entry("a", 3.0), interrupts(clock, "b", call=4), clock.entry("c", 5.0)]
    with pytest.raises(Interrupted) as raised:
        interleave(entries, 7, clock=clock)
    assert raised.value.rounds == 2
    assert raised.value.outcomes == {
        name: Outcome((seconds,) * 2) for name, seconds in (("a", 3.0), ("b", 1.0), ("c", 5.0))
    }


def test_interrupted_in_the_first_round_it_has_nothing():
    clock = Clock()
    with pytest.raises(KeyboardInterrupt) as raised:
        interleave([clock.entry("a", 3.0), interrupts(clock, "b", call=2)], 7, clock=clock)
    assert not isinstance(raised.value, Interrupted)


def test_slow_entries_run_less_often():
    clock = Clock()
    entries = [
        clock.entry("first", 1.0),
        clock.entry("ten times", 10.0, reference="first"),
        clock.entry("slow", 10.5, reference="first"),
        clock.entry("endless", 51.0, reference="first"),
        clock.entry("larger", 60.0),
        clock.entry("of the larger", 70.0, reference="larger"),
    ]
    outcomes = interleave(entries, 7, clock=clock)
    assert [len(outcomes[entry.name].seconds) for entry in entries] == [7, 7, timing.FEW, 1, 7, 7]
    assert outcomes["endless"].seconds == (51.0,)


def test_a_warm_up_that_may_have_been_an_import_is_no_sample():
    clock = Clock()
    outcomes = interleave(
        [clock.entry("first", 0.01), clock.entry("captum", 9.0, 0.02, reference="first")], 7, clock=clock
    )
    assert outcomes["captum"].seconds == pytest.approx((0.02, 0.02, 0.02))


def test_an_entry_that_fails_is_left_out():
    clock = Clock()
    entries = [
        clock.entry("a", 1.0),
        Entry("bug", fails(ZeroDivisionError("by\nnought"))),
        Entry("known", fails(ImageError("no photograph"))),
    ]
    outcomes = interleave(entries, 3, clock=clock)
    assert outcomes["a"].seconds == (1.0, 1.0, 1.0)
    assert outcomes["bug"] == Outcome(problem="ZeroDivisionError: by nought")
    assert outcomes["known"] == Outcome(problem="no photograph")


def test_an_entry_that_fails_later_is_left_out_too():
    calls = []

    def run():
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the third time")

    outcomes = interleave([Entry("unsteady", run)], 5)
    assert outcomes["unsteady"].problem == "RuntimeError: the third time"
    assert len(calls) == 3


def test_the_device_is_waited_for_within_the_time():
    clock = Clock()
    queued = []

    def synchronize():
        clock.now += sum(queued)
        queued.clear()

    entry = Entry("queues", lambda: queued.append(2.0))
    assert interleave([entry], 2, synchronize=synchronize, clock=clock)["queues"].seconds == (2.0, 2.0)


def test_rows():
    entries = [
        Entry("forward", lambda: None, 4),
        Entry(
            "agcam",
            lambda: None,
            8,
            "forward",
            (Limit("time", 0.6), Limit("memory", 2.0), Limit("alike", 0.9, at_least=True)),
            {"alike": lambda: 0.5},
            "a note",
        ),
        Entry("broken", lambda: None, 4, "forward", (Limit("time", 1.0),)),
    ]
    outcomes = {
        "forward": Outcome((2.0, 4.0)),
        "agcam": Outcome((2.0, 4.0)),
        "broken": Outcome(problem="it is"),
    }
    forward, agcam, broken = rows_of(entries, outcomes, {"forward": 10 * MIB, "agcam": 34 * MIB})
    assert (forward.ratio, forward.memory, forward.images_per_second) == (None, None, pytest.approx(4 / 3))
    assert agcam.ratios == (0.5, 0.5)  # of the time per image
    assert agcam.memory == 3.0
    assert [(found.value, found.met) for found in agcam.checks] == [(0.5, True), (3.0, False), (0.5, False)]
    assert agcam.values == {"alike": 0.5}
    assert (broken.status, broken.problem, broken.checks, broken.time) == ("failed", "it is", (), None)


def test_without_its_reference_a_row_has_no_ratio():
    entry = Entry("agcam", lambda: None, 1, "forward", (Limit("time", 1.0),))
    outcomes = {"agcam": Outcome((1.0,)), "forward": Outcome(problem="broken")}
    (_, row) = rows_of([Entry("forward", lambda: None), entry], outcomes)
    assert row.seconds == (1.0,)
    assert row.ratios == row.checks == ()


def test_peak_memory():
    def run():
        first = torch.zeros(10 * MIB, dtype=torch.uint8)
        second = torch.zeros(5 * MIB, dtype=torch.uint8)
        del first
        return second, torch.zeros(7 * MIB, dtype=torch.uint8)

    assert peak_bytes(run, torch.device("cpu")) == 15 * MIB
    assert peak_bytes(lambda: None, torch.device("cpu")) == 0
    assert peak_bytes(run, torch.device("meta")) is None


def test_peak_memory_of_a_backward_pass():
    x = torch.zeros(MIB, requires_grad=True)

    def run():
        return torch.autograd.grad(x.exp().exp().sum(), x)

    peak = peak_bytes(run, torch.device("cpu")) / (4 * MIB)
    assert 3 <= peak < 4.1  # both exponentials are kept for the gradient, which is as large
