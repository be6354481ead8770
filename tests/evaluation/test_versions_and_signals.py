"""Versions that changed, SIGTERM, and addresses where folders are meant."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import miniature
import pytest
from typer.testing import CliRunner

from vitcam.errors import DatasetError
from vitcam.evaluation import RunError, open_dataset
from vitcam.evaluation.store import RunFolder


def with_versions(folder, **versions):
    settings = folder.settings()
    settings["versions"] |= versions
    (folder.path / "run.json").write_text(json.dumps(settings))


@pytest.mark.parametrize("library", ["vitcam", "torch", "timm", "transformers"])
def test_another_version_is_refused_unless_it_is_allowed(run, folder, library):
    run(limit=4)
    now = folder.settings()["versions"][library] or "missing"
    with_versions(folder, **{library: "0.0.7"})
    message = rf"other versions, .*: {library} 0\.0\.7 in the run, {now} now\. .*--allow-version-change"
    with pytest.raises(RunError, match=message):
        run(limit=4)
    told = []
    run(limit=4, allow_version_change=True, tell=told.append)
    assert any(
        f"goes on with other versions, which may give other numbers: {library} 0.0.7" in each for each in told
    )
    with pytest.raises(RunError, match=r"seed: 0 in the run, 1 now"):  # and nothing else is allowed by that
        run(limit=4, seed=1, allow_version_change=True)


def test_runs_that_note_timm_beside_the_machine_go_on(run, folder):
    run(limit=4)
    settings = folder.settings()
    settings["environment"]["timm"] = settings["versions"].pop("timm")
    del settings["versions"]["transformers"]
    (folder.path / "run.json").write_text(json.dumps(settings))
    run(limit=4)
    settings["environment"]["timm"] = "0.1"
    (folder.path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(RunError, match=r"timm 0\.1 in the run"):
        run(limit=4)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_done_is_stored_when_a_run_is_ended(tmp_path, number):
    """With minutes to go before it would be stored anyway."""
    data, output = miniature.make_dataset(tmp_path / "data", images=41), tmp_path / "run"
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, miniature.__file__, str(data), str(output), "localization", "600"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line == "9\n":  # images are done
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in ((143,) if number == signal.SIGTERM else (1, -signal.SIGINT)), errors
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    rows = RunFolder(output).read()
    assert rows["image"].n_unique() >= 9
    assert (output / "lock").read_text() == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
def test_the_command_says_how_to_go_on_after_sigterm(tmp_path, monkeypatch):
    from vitcam.cli.program import program

    def end(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr("vitcam.evaluation.work.batch_rows", end)
    data = miniature.make_dataset(tmp_path / "data", images=3)
    words = ["evaluate", "perturbation", "--data", f"folder:{data}", "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(program, words)
    assert result.exit_code == 143
    assert "Interrupted. What is done is stored; the same command goes on from there" in result.output
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_program_that_handles_sigterm_itself_keeps_its_handler(run):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        run(limit=4, progress=lambda progress: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://bucket/run", "s3://bucket/run is an address, but a run's folder must be"),
        (Path("s3://bucket/run"), "s3://bucket/run is an address"),
        ("gs://bucket/run", "gs://bucket/run is an address"),
        ("abfs://box@account/run", "copy that"),
        ("https://host/run", r"mount it \(s3fs, gcsfuse, blobfuse\)"),
        ("file:///tmp/run", "give the path alone, /tmp/run"),
    ],
)
def test_runs_in_object_stores_are_refused(run, tmp_path, monkeypatch, address, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=said):
        run(output=address)
    assert not list(tmp_path.glob("*:*"))


@pytest.mark.parametrize("kind", ["folder", "voc", "imagenet-seg"])
def test_data_in_object_stores_are_refused(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    for refused in (lambda spec: open_dataset(spec), lambda spec: run(data=spec)):
        with pytest.raises(DatasetError, match="s3://b/photos is an address, but a "):
            refused(f"{kind}:s3://b/photos")


def test_a_cluster_refuses_them_too(run, tmp_path):
    pytest.importorskip("ray", reason="Ray isn't installed")
    with pytest.raises(DatasetError, match="s3://b/photos is an address"):
        run(data="folder:s3://b/photos", cluster="local")
