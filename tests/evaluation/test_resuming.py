"""How a run goes on, and what it refuses to go on with."""

from __future__ import annotations

import errno
import json

import miniature
import pytest
import torch

from vitcam import writing
from vitcam.evaluation import RunError
from vitcam.evaluation.store import RunFolder


def test_a_photograph_that_has_been_mended_is_measured(run, tmp_path):
    """By the same command, and as it would have been at first; one that still can't be read costs no pass."""
    data = miniature.make_dataset(tmp_path / "data", images=9)
    model, broken, passes, told = miniature.make_model(), data / miniature.BROKEN, [], []
    model.module.register_forward_hook(lambda *_: passes.append(1))
    given = {"task": "perturbation", "data": f"folder:{data}", "model": model, "steps": 2}
    run(**given)
    done = len(passes)
    run(**given, tell=told.append)
    assert len(passes) == done
    assert told[-1] == "Once these photographs can be read, the same command measures them too"

    broken.write_bytes((data / "cat" / "00.png").read_bytes())
    again = run(**given)["perturbation"]["agcam"]
    whole = run(**given, output=tmp_path / "whole")["perturbation"]["agcam"]
    assert (again["images"], again["unreadable"]) == (10, 0)
    assert again["morf"] == pytest.approx(whole["morf"], abs=1e-6)
    one, other = (
        RunFolder(tmp_path / name).read().filter(image=miniature.BROKEN) for name in ("run", "whole")
    )
    assert one.equals(other)


def test_the_same_command_skips_what_is_stored(run, folder, model):
    first = run()
    parts = sorted((folder.path / "rows").iterdir())
    passes, told = [], []
    hook = model.module.register_forward_hook(lambda *_: passes.append(1))
    try:
        again = run(tell=told.append)
    finally:
        hook.remove()
    assert again == first
    assert sorted((folder.path / "rows").iterdir()) == parts
    assert not passes
    assert "24 of 24 images of the localization task are stored already and are skipped" in told


def test_reading_ahead_changes_nothing(run, tmp_path):
    run(output=tmp_path / "none")
    run(output=tmp_path / "two", workers=2)
    assert RunFolder(tmp_path / "none").read().equals(RunFolder(tmp_path / "two").read())


def test_other_settings_are_refused_field_by_field(run, folder):
    run(limit=4)
    before = (folder.path / "run.json").read_bytes()
    with pytest.raises(RunError) as caught:
        run(limit=5, methods=["agcam"], threshold=0.4)
    message = str(caught.value)
    assert "limit: 4 in the run, 5 now" in message
    assert "methods: agcam, rollout, random, center in the run, agcam, random, center now" in message
    assert "threshold: 0.5 in the run, 0.4 now" in message
    assert "precision" not in message
    assert "thresholds" not in message  # they follow from threshold
    assert (folder.path / "run.json").read_bytes() == before
    changed = miniature.make_model()
    changed.module.head.bias.data += 1
    with pytest.raises(RunError, match=r"model\.weights: \w{8} in the run, \w{8} now"):
        run(limit=4, model=changed)


def test_another_number_of_threads_is_said(run, folder):
    run(limit=4)
    settings = folder.settings()
    settings["environment"]["threads"] += 3
    (folder.path / "run.json").write_text(json.dumps(settings))
    told = []
    run(limit=4, tell=told.append)
    threads = torch.get_num_threads()
    assert any(
        f"begun on {threads + 3} threads and goes on with {threads}, on which" in each for each in told
    )
    settings["environment"].pop("threads")
    (folder.path / "run.json").write_text(json.dumps(settings))
    run(limit=4, tell=told.append)
    assert sum("threads" in each for each in told) == 1


def test_a_moved_dataset_goes_on(run, data, tmp_path):
    run(limit=4)
    (tmp_path / "moved").symlink_to(data)
    run(limit=4, data=f"folder:{tmp_path / 'moved'}")


def test_folders_that_are_no_run_are_refused(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    with pytest.raises(RunError, match="holds files, but no run"):
        run()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="can't make the folder"):
        run(output=tmp_path / "file")


@pytest.mark.parametrize("content", ["[1]", "7", "null", '"text"', "[" * 10**5, "{", "\x00"])
def test_settings_that_are_none_are_said_so(run, folder, content):
    folder.path.mkdir()
    (folder.path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json .*: expected the settings of a run"):
        run(limit=4)


def test_settings_of_another_version_are_not_gone_on_with(run, folder):
    run("localization", limit=3)
    settings = folder.settings()
    for changes, message in (
        ({"format": 2}, r"\(format 1\): another version wrote it; use that one"),
        ({"model": 5}, "is damaged: its 'model' must be an object, got 5"),
    ):
        (folder.path / "run.json").write_text(json.dumps(settings | changes))
        with pytest.raises(RunError, match=message):
            run("localization", limit=3)


def test_a_name_that_is_too_long_is_said_so(run, tmp_path):
    with pytest.raises(RunError, match=r"can't make the folder .*: File name too long"):
        run(output=tmp_path / ("x" * 300))


def test_a_full_disk_loses_nothing(run, folder, monkeypatch):
    whole = folder.path.with_name("whole")
    run(output=whole)
    write, written = writing.write_durably, []

    def full(path, content):
        if len(written) == 4:  # sources, settings, a picture, rows
            path.write_bytes(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(writing, "write_durably", full)
    with pytest.raises(RunError, match=r"No space left on device\. What was stored before is whole"):
        run(store_every=0)
    assert len(folder.read()) > 0
    assert not list(folder.path.rglob("*.part"))
    monkeypatch.setattr(writing, "write_durably", write)
    run()
    assert folder.read().equals(RunFolder(whole).read())


def test_a_folder_that_is_moved_while_it_is_worked_in_is_not_begun_anew(run, folder):
    moved = folder.path.with_name("moved")

    def move(progress):
        if progress.done == 8:
            folder.path.rename(moved)

    with pytest.raises(RunError, match=r"run is gone, or has no run\.json any more: put it back"):
        run(progress=move, store_every=0)
    assert not folder.path.exists()
    run(output=moved)
    assert RunFolder(moved).read()["image"].n_unique() == 24


def test_an_interrupted_run_keeps_its_batches(run, folder):
    def interrupt(progress):
        if progress.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(progress=interrupt)
    assert folder.read()["image"].n_unique() == 8
    run()
    assert folder.read()["image"].n_unique() == 24


def test_a_run_that_was_killed_as_it_began_begins_again(run, folder):
    (folder.path / "rows").mkdir(parents=True)
    torn = folder.path / ".run.json.12.part"
    torn.write_text("{")
    run(limit=3)
    assert not torn.exists()
    assert folder.settings()["limit"] == 3


def test_torn_files_are_ignored_and_cleared(run, folder):
    run(limit=4)
    torn = folder.path / "rows" / ".part-000009-abcdef01.parquet.12.part"
    torn.write_bytes(b"PAR1")
    run(limit=4)
    assert not torn.exists()
    part = next((folder.path / "rows").glob("part-*"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunError, match=r"is damaged.*delete it"):
        run(limit=4)
