"""Tables for people, and JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from vitcam.bench import BenchError, Group, Row, Settings, failures, this_machine, to_json
from vitcam.bench.limits import Check, Limit
from vitcam.bench.tables import as_markdown, cells, heading, processor, remarks, table, target

FORWARD = Row("forward", images=8, seconds=(0.8, 1.0, 0.9, 0.8, 1.0))
AGCAM = Row(
    "agcam",
    note="a note",
    images=8,
    reference="forward",
    seconds=(1.0, 1.2),
    ratios=(1.25, 1.1),
    fastest="oneDNN",
    fastest_ratios=(2.0, 2.4),
    memory=6.25,
    checks=(Check(Limit("time", 1.1, goal=1.03), 1.175), Check(Limit("memory", 15.0), 6.25)),
)
GROUP = Group(
    "methods",
    "Methods, batch 8",
    (FORWARD, AGCAM, Row("x|y", "failed", "it broke"), Row("lxt", "not installed", "pip install lxt")),
    ("One sentence.",),
)


def test_cells():
    assert cells(FORWARD) == ("forward", "900 ms (800–1000)", "–", "–", "8.9", "–", "")
    assert cells(AGCAM) == (
        "agcam",
        "1.10 s (1.05–1.15)",
        "1.18× (1.14–1.21)",
        "2.20× (2.10–2.30)",
        "7.3",
        "6.2",
        "≤ 1.10×: missed; ≤ 15.0 MiB: met",
    )
    assert cells(GROUP.rows[2])[:2] == ("x|y", "failed")


@pytest.mark.parametrize(
    ("limit", "value", "text"),
    [
        (Limit("time", 0.6, of=("a", "b", "c")), 0.34, "≤ 0.60× of the 3 one by one: met, 0.34×"),
        (Limit("speed", 2.5, at_least=True, of=("agcam",)), 2.4, "images/s ≥ 2.50× of agcam: missed, 2.40×"),
        (Limit("rank correlation", 0.99, at_least=True), 0.999, "rank correlation ≥ 0.99: met, 1.00"),
        (Limit("largest difference", 1e-3), 9e-7, "largest difference ≤ 0.001: met, 9e-07"),
        (Limit("seconds", 0.15), 0.2, "≤ 0.15 s: missed"),
    ],
)
def test_targets(limit, value, text):
    assert target(Check(limit, value)) == text


def test_empty_columns_are_left_out():
    header, rows = table(Group("start", "Start", (Row("python", images=0, seconds=(0.2,)),)))
    assert header == ("", "Time")
    assert rows == [("python", "200 ms")]


def test_remarks():
    assert remarks(GROUP) == [
        "One sentence.",
        "The fastest way to the same prediction: oneDNN",
        "Fewer rounds, being slow: agcam (2)",
        "x|y: it broke",
        "lxt: pip install lxt",
        "agcam: a note",
    ]


def test_markdown():
    settings = Settings(model="timm:test_vit")
    machine = this_machine(torch.device("cpu"), threads=2)
    text = as_markdown(machine, settings, [GROUP])
    assert (
        f"### Methods, batch 8\n\n{processor(machine)}.\n\n|  | Time | Ratio | Of fastest | Images/s |"
        in text
    )
    assert r"| x\|y | failed |" in text
    assert "- lxt: pip install lxt\n" in text
    assert machine.cpu in heading(machine, settings)
    assert "timm:test_vit, fp32, 7 rounds" in text


def test_what_every_table_says_of_the_processor():
    machine = replace(
        this_machine(torch.device("cpu"), threads=2),
        cpu="AMD EPYC",
        model="family 26, model 2",
        instruction_sets=("AVX2", "AVX-512"),
        torch_uses="AVX512",
        torch="2.14.1",
        libraries={"timm": "1.0"},
    )
    said = "AMD EPYC (family 26, model 2; AVX2, AVX-512), torch uses AVX512; 2 threads on cpu; vitcam"
    assert processor(machine).startswith(said)
    assert processor(machine).endswith("torch 2.14.1, timm 1.0")
    assert processor(replace(machine, model="", instruction_sets=())).startswith("AMD EPYC, torch uses")


def test_json():
    machine = this_machine(torch.device("cpu"), threads=2)
    found = json.loads(json.dumps(to_json(machine, Settings(), [GROUP])))
    forward, agcam, broken, missing = found["groups"][0]["rows"]
    assert forward["median"] == 0.9
    assert forward["quartiles"] == [0.8, 1.0]
    assert agcam["ratio"] == pytest.approx(1.175)
    assert (agcam["fastest"], agcam["fastest_ratio"]) == ("oneDNN", pytest.approx(2.2))
    assert agcam["targets"][0] == {
        "what": "time",
        "bound": 1.1,
        "at_least": False,
        "of": [],
        "goal": 1.03,
        "value": 1.175,
        "met": False,
    }
    assert (broken["status"], broken["problem"], broken["median"]) == ("failed", "it broke", None)
    assert missing["status"] == "not installed"
    assert found["machine"]["threads"] == 2
    assert found["machine"]["torch"] == torch.__version__
    assert found["settings"]["batches"] == [1, 8]


def test_only_what_failed_is_a_failure():
    assert [row.name for _, row in failures([GROUP])] == ["x|y"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"repeats": 0}, r"repeats must be 1 or more .*; got 0"),
        ({"threads": 0}, "threads must be 1 or more; got 0"),
        ({"batches": (4, 0)}, r"batch must be 1 or more; got \(4, 0\)"),
        ({"batches": ()}, r"batch must be 1 or more; got \(\)"),
        ({"parts": ("methods", "speed")}, "part must be one of methods, compare, .*; got speed"),
        ({"parts": ()}, "part must be one of methods, .*; got none"),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16, fp16; got fp8"),
    ],
)
def test_wrong_settings(setting, message):
    with pytest.raises(BenchError, match=message):
        Settings(**setting)
