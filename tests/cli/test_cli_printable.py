"""No name of a file, class, model or run reaches the terminal as anything but text."""

import re
import shutil
from dataclasses import replace

import pytest

from vitcam.cli.explaining import run as where
from vitcam.cli.terminal import complain, stdout

ACTS = "\x1b]0;taken\x07\x9b2J\r\x08\x7f\u202e"
"""Sets a terminal's title, clears it, goes back, turns what follows around."""
LEFT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
COMMANDS = (
    "explain",
    "evaluate",
    "report",
    "train-head",
    "export",
    "bench",
    "methods",
    "models",
    "classes",
    "app",
)


def assert_harmless(result, *named):
    assert not LEFT.search(result.output), result.output
    assert "Traceback" not in result.output
    for text in named:
        assert text in result.output


def test_names_of_files(vitcam, photos, tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(photos / "cat.jpg", tmp_path / "photos" / f"good{ACTS}\nError: forged.jpg")
    (tmp_path / "photos" / f"bad{ACTS}\nError: forged.jpg").write_text("no picture")
    for arguments in (
        [tmp_path / "photos", tmp_path / f"gone{ACTS}.jpg", "--boxes"],
        [tmp_path / f"gone{ACTS}.jpg"],
        [tmp_path / "photos" / f"gone{ACTS}*"],
    ):
        result = vitcam("explain", *arguments, "-o", tmp_path / f"out{ACTS}")
        assert result.exit_code == 1
        assert_harmless(result, "gone␛]0;taken�2J")
        assert not any(line.startswith("Error: forged") for line in result.output.splitlines())


def test_names_of_classes(vitcam, photos, tmp_path, model, monkeypatch):
    hostile = replace(model, class_names=tuple(f"{ACTS}{number}" for number in range(len(model.class_names))))
    monkeypatch.setattr(where, "load_model", lambda spec, device: hostile)
    result = vitcam("explain", photos / "cat.jpg", "--boxes", "-o", tmp_path)
    assert result.exit_code == 0
    assert_harmless(result, "␛]0;taken")
    assert_harmless(vitcam("explain", photos / "cat.jpg", "-t", f"kat{ACTS}", "-o", tmp_path))


@pytest.mark.parametrize(
    "option", ["--model", "--method", "--target", "--device", "--threshold", "--precision"]
)
def test_values_of_options(option, vitcam, photos, tmp_path):
    for value in (ACTS, f"timm:{ACTS}", f"attention(layer={ACTS})", f"agcam{ACTS}"):
        result = vitcam("explain", photos / "cat.jpg", "-o", tmp_path, option, value)
        assert result.exit_code == 2
        assert_harmless(result)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_shell_makes_of_a_star(command, vitcam):
    """A file's name may be taken for an option, a command, or an argument too many."""
    for arguments in ([f"--{ACTS}"], [f"-{ACTS}"], [ACTS, ACTS], [f"--data={ACTS}", f"--{ACTS}"]):
        result = vitcam(command, *arguments)
        assert result.exit_code in (1, 2)
        assert_harmless(result)
    for arguments in ([f"{command}{ACTS}"], [f"--{ACTS}", command]):
        result = vitcam(*arguments)
        assert result.exit_code == 2
        assert_harmless(result, "]0;taken")


def test_only_richs_own_control_characters_are_left(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    complain(f"{ACTS} is bad")
    stdout().print(f"[bold]{ACTS}[/bold]", style="red")
    written = "".join(capsys.readouterr())
    assert "\x1b[1;31mError" in written
    assert "␛]0;taken�2J␡�" in written
    assert not LEFT.search(re.sub(r"\x1b\[[\d;]*m", "", written))
