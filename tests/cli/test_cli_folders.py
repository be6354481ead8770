"""What ``vitcam explain`` makes of many photographs: a short table, a CSV, one page of all panels, a hint."""

import csv
import shutil

import pytest
from PIL import Image

from vitcam.cli import explain as command


@pytest.fixture(scope="module")
def folder(photos, tmp_path_factory):
    """Three photographs, one of them under a hostile name, and one that can't be read."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    folder.mkdir()
    for name in ("cat.jpg", "cup.jpg"):
        shutil.copy(photos / name, folder / name)
    shutil.copy(photos / "cat.jpg", folder / "=1+1<b>&%20#.jpg")
    (folder / "broken.jpg").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def run(vitcam, folder):
    out = folder.parent / "out"
    return vitcam("explain", folder, "-t", "cat", "--csv", "-q", "-o", out), out


def test_quiet_prints_a_summary_and_errors(run):
    result, out = run
    assert result.exit_code == 1
    assert result.stdout.startswith("3 panels, 3 files of maps and manifest.json are in")
    assert "broken.jpg" in result.stderr
    assert out.exists()


def test_the_csv_has_every_class_that_is_listed(run):
    _, out = run
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * 5 + 1  # the cup's photograph has cat beside its five
    explained = [row for row in rows if row["explained"] == "yes"]
    assert [row["class"] for row in explained] == ["cat"] * 3
    assert all((out / row["panel"].removeprefix("'")).exists() for row in explained)
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)
    hostile = [row for row in rows if "=1+1" in row["photograph"]]
    assert hostile
    assert all(not row["panel"].startswith("=") for row in hostile)


def test_one_page_shows_all_panels(run):
    _, out = run
    text = (out / "index.html").read_text(encoding="utf-8")
    assert text.count("<img ") == 3
    assert "&lt;b&gt;&amp;%20#.jpg" in text
    assert 'src="%3D1%2B1%3Cb%3E%26%2520%23.panel.png"' in text
    assert "1 couldn&#x27;t be explained" in text
    assert '<span class="failed">' in text


def test_a_single_photograph_has_no_page(vitcam, photos, tmp_path):
    assert vitcam("explain", photos / "cat.jpg", "-o", tmp_path).exit_code == 0
    assert not (tmp_path / "index.html").exists()
    assert not (tmp_path / "predictions.csv").exists()


def test_nothing_is_written_where_none_of_several_could_be_explained(vitcam, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"nothing")
    result = vitcam("explain", tmp_path / "a.jpg", tmp_path / "b.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_a_long_table_is_cut(vitcam, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "LISTED", 1)
    result = vitcam("explain", folder, "-o", tmp_path)
    assert "… and 2 photographs more: see index.html, or give --csv." in result.stdout
    assert "cup.jpg" not in result.stdout


def test_a_hint_where_the_shipped_model_is_unsure(vitcam, photos, tmp_path):
    Image.new("RGB", (90, 90), "grey").save(tmp_path / "grey.png")
    unsure = vitcam("explain", tmp_path / "grey.png", "-o", tmp_path / "out").stdout
    assert "embedded:photo knows only 62 classes, and is unsure about this photograph" in unsure
    assert "--model timm:vit_base_patch16_224" in unsure
    sure = vitcam("explain", photos / "cup.jpg", "-o", tmp_path / "out").stdout
    assert "knows only" not in sure
