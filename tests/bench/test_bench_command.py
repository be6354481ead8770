"""``vitcam bench`` as people run it, on a tiny model."""

from __future__ import annotations

import json

import pytest
from bench_fakes import SPEC
from typer.testing import CliRunner

from vitcam.bench.parts import peers
from vitcam.bench.settings import PARTS
from vitcam.bench.subject import BenchSubject
from vitcam.cli.bench import Part
from vitcam.cli.program import program

ROW = {
    "name": str,
    "status": str,
    "problem": (str, type(None)),
    "note": str,
    "images": int,
    "reference": (str, type(None)),
    "seconds": list,
    "median": (float, type(None)),
    "quartiles": (list, type(None)),
    "images_per_second": (float, type(None)),
    "ratios": list,
    "ratio": (float, type(None)),
    "ratio_quartiles": (list, type(None)),
    "fastest": (str, type(None)),
    "fastest_ratios": list,
    "fastest_ratio": (float, type(None)),
    "memory_mib_per_image": (float, type(None)),
    "values": dict,
    "targets": list,
}
TARGET = {"what", "bound", "at_least", "of", "goal", "value", "met"}
MACHINE = {"cpu", "cores", "threads", "ram_gib", "bf16", "device", "system", "python", "torch", "date"}
MACHINE |= {"model", "instruction_sets", "torch_uses", "libraries"}


def run(*arguments):
    common = ["bench", "--model", SPEC, "--threads", "1", "--repeats", "1", "--batch", "2"]
    return CliRunner().invoke(program, [*common, *map(str, arguments)], prog_name="vitcam")


def check_schema(found):
    assert set(found) == {"format", "vitcam", "machine", "settings", "groups"}
    assert found["format"] == 1
    assert set(found["machine"]) == MACHINE
    for group in found["groups"]:
        assert set(group) == {"part", "title", "notes", "rows"}
        for row in group["rows"]:
            assert set(row) == set(ROW)
            for key, value in row.items():
                assert isinstance(value, ROW[key]), f"{key} is {value!r}"
            assert row["status"] in ("measured", "failed", "not applicable", "not installed")
            assert bool(row["seconds"]) == (row["status"] == "measured")
            assert all(set(target) == TARGET for target in row["targets"])


def test_json_alone_goes_to_the_terminal(tmp_path):
    result = run("--part", "methods", "--method", "agcam", "--json", "-", "--markdown", tmp_path / "b.md")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    check_schema(found)
    assert found["settings"]["model"] == SPEC
    assert [group["part"] for group in found["groups"]] == ["methods"]
    assert "Methods, batch 2, fp32" in result.stderr
    assert "### Methods, batch 2, fp32" in (tmp_path / "b.md").read_text(encoding="utf-8")


def test_what_fails_is_shown_and_the_exit_status_is_1(tmp_path, monkeypatch):
    def raises(subject, images):
        raise TypeError("unexpected keyword")

    listed = (peers.Peer("torch", "Raises", "agcam", raises), peers.Peer("no-such", "CAM", "agcam", raises))
    monkeypatch.setattr(peers, "PEERS", {"": listed})
    file = tmp_path / "folder" / "b.json"
    result = run("--part", "peers", "--json", file)
    assert result.exit_code == 1
    assert "torch Raises: TypeError: unexpected keyword" in result.stdout
    assert "no-such CAM: pip install no-such" in result.stdout
    assert result.stderr.strip().endswith("Error: 1 row couldn't be measured, see above")
    found = json.loads(file.read_text(encoding="utf-8"))
    check_schema(found)
    assert [row["status"] for row in found["groups"][0]["rows"]] == [
        "measured",
        "measured",
        "failed",
        "not installed",
    ]


def test_what_is_missing_is_no_failure(monkeypatch):
    monkeypatch.setattr(
        peers, "PEERS", {"": (peers.Peer("no-such", "CAM", "agcam", lambda *a: lambda: None),)}
    )
    assert run("--part", "peers").exit_code == 0


def test_what_was_measured_before_an_interruption_is_written(tmp_path, monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("vitcam.bench.parts.evaluation._localization", interrupted)
    file = tmp_path / "b.json"
    result = run("--part", "compare", "--part", "evaluation", "--json", file)
    assert result.exit_code != 0
    assert [group["part"] for group in json.loads(file.read_text())["groups"]] == ["compare"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--part", "speed"), 2, "'speed' is not one of 'methods', 'compare'"),
        (("--repeats", "0"), 2, "greater than or equal to 1"),
        (("--method", "agcm"), 2, "there is no method 'agcm'. Did you mean 'agcam'?"),
        (("--model", "timm:no_such_vit"), 2, "timm has no model called 'no_such_vit'"),
        (
            ("--model", "timm:test_resnet", "--part", "methods"),
            2,
            "can't be benchmarked, since it can't be explained",
        ),
        (("--device", "warp"), 2, "can't run on device 'warp'"),
    ],
)
def test_errors(arguments, status, message):
    result = run(*arguments)
    assert result.exit_code == status
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_the_parts_are_those_that_there_are():
    assert tuple(part.value for part in Part) == PARTS


def test_interrupted_it_shows_and_writes_what_it_has(tmp_path, monkeypatch):
    calls = []

    def interrupting(images, method, **options):
        def explain():
            calls.append(method)
            if len(calls) == 3:  # the warm-up, the first round, the second
                raise KeyboardInterrupt

        return explain

    monkeypatch.setattr(
        BenchSubject, "explain", lambda self, *args, **options: interrupting(*args, **options)
    )
    file = tmp_path / "b.json"
    result = run(
        "--part", "methods", "--part", "start", "--method", "rollout", "--repeats", 5, "--json", file
    )
    assert result.exit_code == 130
    assert "Interrupted after 1 of 5 rounds; memory wasn't measured." in result.stdout
    found = json.loads(file.read_text(encoding="utf-8"))
    check_schema(found)
    (group,) = found["groups"]
    assert [len(row["seconds"]) for row in group["rows"]] == [1] * len(group["rows"])
    assert "Time: median of the rounds" in result.stdout


def test_files_that_cannot_be_written_are_told_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    for option, place, told in (
        ("--json", tmp_path, f"can't write {tmp_path}: it is a folder"),
        ("--markdown", tmp_path / "file" / "b.md", f"{tmp_path / 'file'} is a file, not a folder"),
    ):
        result = run("--part", "start", option, place)
        assert result.exit_code == 1
        assert told in " ".join(result.stderr.split())
        assert "Start" not in result.stdout
