"""Reading runs: whole, half-finished, damaged."""

import json

import pytest
from report_runs import row, rows_of, settings_of, write_part, write_run

from vitcam.errors import VitcamError
from vitcam.report import ReportError, read_runs


def test_rows_of_all_files_are_read_once(tmp_path):
    rows = rows_of()
    folder = write_run(tmp_path / "deit", rows, parts=3)
    write_part(folder, rows[:5], 9)  # another worker of a cluster did these too
    (run,) = read_runs([folder])
    assert run.name == "deit"
    assert run.rows.height == len(rows)
    assert run.tasks == ("localization",)
    assert run.methods == ("agcam", "rollout", "random")
    assert run.gaps == ()


def test_counts(tmp_path):
    rows = [*rows_of(), row("localization", "broken.jpg", None, 0, error="truncated file")]
    (run,) = read_runs([write_run(tmp_path / "run", rows, images=31)])
    assert run.counts("localization") == {
        "planned": 31,
        "done": 31,
        "images": 24,
        "skipped_wrong": 6,
        "unreadable": 1,
        "unmatched": 4,
    }
    assert run.unreadable == {"broken.jpg": "truncated file"}


def test_gaps_of_an_interrupted_run(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "run", rows_of(), task="all", images=100)])
    assert run.gaps == (
        "The perturbation task has no rows yet.",
        "The localization task has done 30 of 100 images; all its numbers are of these.",
    )


def test_leftovers_of_an_interrupted_write_are_ignored(tmp_path):
    folder = write_run(tmp_path / "run", rows_of())
    (folder / "rows" / ".part-000009-aa.parquet.123.part").write_bytes(b"PAR1 torn")
    assert read_runs([folder])[0].rows.height == 90


def test_runs_that_are_called_alike_keep_their_paths(tmp_path):
    folders = [write_run(tmp_path / parent / "run", rows_of()) for parent in "ab"]
    assert [run.name for run in read_runs(folders)] == list(map(str, folders))
    assert len(read_runs([folders[0], folders[0]])) == 1


def test_methods_that_the_settings_do_not_name_come_last(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "run", rows_of(), methods=["random"])])
    assert run.methods == ("random", "agcam", "rollout")


def test_not_a_run(tmp_path):
    with pytest.raises(ReportError, match=r"is not a run: expected the folder that `vitcam evaluate"):
        read_runs([tmp_path])
    with pytest.raises(VitcamError, match="is not a run"):
        read_runs([tmp_path / "missing"])


def test_no_rows_yet(tmp_path):
    with pytest.raises(ReportError, match="has no rows yet"):
        read_runs([write_run(tmp_path / "run", [], parts=0)])
    with pytest.raises(ReportError, match="has no rows yet"):
        read_runs([write_run(tmp_path / "empty", [row("localization", "a", "agcam", 0.1)][:0], parts=0)])


def test_damaged_parquet(tmp_path):
    folder = write_run(tmp_path / "run", rows_of())
    (folder / "rows" / "part-000007-bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ReportError, match=r"part-000007-bad.parquet is damaged .* delete it"):
        read_runs([folder])


def test_foreign_parquet(tmp_path):
    folder = write_run(tmp_path / "run", rows_of())
    write_part(folder, [{"image": "a", "iou": 0.5}], 8)
    with pytest.raises(ReportError, match="isn't a run's: it has no task, method"):
        read_runs([folder])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "can't be read"),
        ("[" * 100_000, "can't be read"),
        ("[1]", "isn't of a form"),
        (json.dumps(settings_of(format=2)), "another version"),
        (json.dumps(settings_of(model=5)), "its 'model' must be an object, got 5"),
    ],
)
def test_damaged_settings(tmp_path, content, problem):
    folder = write_run(tmp_path / "run", rows_of())
    (folder / "run.json").write_text(content)
    with pytest.raises(ReportError, match=problem):
        read_runs([folder])
