"""The page: whole, self-contained, safe whatever the names in a run are."""

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from jinja2 import UndefinedError
from PIL import Image
from report_runs import HOSTILE, row, rows_of, write_run

from vitcam.evaluation.gallery import pictures_frame, to_pictures
from vitcam.report import read_runs, report_page, score_tables
from vitcam.report.charts import ticks
from vitcam.report.classes import class_differences
from vitcam.report.gallery import examples, find_photograph
from vitcam.report.listing import as_grids
from vitcam.report.page import page_templates
from vitcam.report.scores import read_scores

EMPTY = {"meta", "img", "br", "col"}


class Reader(HTMLParser):
    """Checks that every element is closed, and collects what the page names."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.addresses, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has a script in {name}"
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "srcset", "action", "data"):
                self.addresses.append(value)
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def page_of(*folders, **options):
    runs = read_runs(folders)
    return report_page(runs, score_tables(runs, **options))


@pytest.fixture
def folder(tmp_path):
    rows = rows_of() + rows_of("perturbation")
    return write_run(tmp_path / "deit", rows, task="all")


def test_page_is_whole_and_refers_to_nothing_outside(folder):
    html = page_of(folder)
    reader = read(html)
    assert len(reader.ids) == len(set(reader.ids))
    assert all(address.startswith("#") for address in reader.addresses)
    assert {address[1:] for address in reader.addresses} <= set(reader.ids)
    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert "url(" not in html
    assert "http://" not in html
    assert "https://" not in html
    assert html.startswith('<!doctype html>\n<html lang="en">')


def test_page_says_what_was_evaluated(folder):
    text = " ".join(read(page_of(folder)).text)
    for part in (
        "embedded:photo",
        "3 of 3 classes matched by name",
        "checksum be7db328",
        "One note.",
        "folder:/nowhere",
    ):
        assert part in text
    assert "agcam has the highest IoU, 0.7" in text
    assert "; the 95 % intervals of its differences from all others exclude 0." in text
    assert "Not finished" not in text


def test_everything_that_the_rows_name_is_escaped(tmp_path):
    methods = ("agcam", f"captum:{HOSTILE}")
    rows = rows_of(methods=methods, class_names=[HOSTILE] * 3)
    rows += [row("localization", f"{HOSTILE}.jpg", None, 0, error=f"not an image: {HOSTILE}")]
    for each in rows:
        each["image"] = f"{HOSTILE}{each['image']}"
    model = {"spec": HOSTILE, "weights": HOSTILE}
    folder = write_run(
        tmp_path / "<b>run",
        rows,
        model=model,
        data=f"folder:{HOSTILE}",
        protocol=HOSTILE,
        class_match=HOSTILE,
    )
    reader = read(page_of(folder))
    assert "script" not in reader.tags
    assert "b" in reader.tags
    assert any(HOSTILE in text for text in reader.text)


def test_unreadable_images_are_listed(tmp_path):
    rows = [*rows_of(), *(row("localization", f"bad{i}", None, 0, error=f"torn {i}") for i in range(60))]
    text = " ".join(read(page_of(write_run(tmp_path / "run", rows, images=90))).text)
    assert "60 that couldn't be read" in text
    assert "torn 0" in text
    assert "and 10 more" in text


def test_an_unfinished_run_says_so(tmp_path):
    text = " ".join(read(page_of(write_run(tmp_path / "run", rows_of(), task="all", images=100))).text)
    assert "Not finished" in text
    assert "30 of 100 images" in text
    assert "The perturbation task has no rows yet." in text


def test_a_run_of_chosen_tests(tmp_path):
    """Without IoU, classes and the gallery are ordered by what there is."""
    rows = rows_of()
    for each in rows:
        correct = each["correct"]
        for name in ("iou", "pixel_accuracy", "iou_curve", "largest_box_iou_curve"):
            each.pop(name)
        each["pointing"] = float(each["target"]) if correct else None
    text = " ".join(read(page_of(write_run(tmp_path / "run", rows))).text)
    assert "best, median and worst image by Pointing game" in text
    assert "Pointing game of agcam minus that of the other method" in text
    assert "IoU" not in text


def test_several_runs(tmp_path, folder):
    other = write_run(tmp_path / "dino", rows_of(seed=1))
    reader = read(page_of(folder, other))
    assert len(reader.ids) == len(set(reader.ids))
    text = " ".join(reader.text)
    assert "deit · dino" in text
    assert "dino: agcam" in text


def test_a_run_per_model(tmp_path, folder):
    """Both models' methods stand in one table, each compared with the reference of its own run."""
    model = {"spec": "timm:other", "weights": "0badf00d"}
    rows = rows_of(seed=5, methods=("agcam", "lrp")) + rows_of(
        "perturbation", methods=("agcam", "lrp"), seed=5
    )
    other = write_run(tmp_path / "other", rows, model=model, methods=["agcam", "lrp"], task="all")
    runs = read_runs([folder, other])
    table = next(table for table in score_tables(runs) if table.measure.key == "iou")
    assert [(row.run, row.method) for row in table.rows] == [
        *(("deit", method) for method in ("agcam", "rollout", "random")),
        *(("other", method) for method in ("agcam", "lrp")),
    ]
    alone = next(table for table in score_tables(read_runs([other])) if table.measure.key == "iou")
    assert table.rows[3:] == alone.rows
    text = " ".join(read(page_of(folder, other)).text)
    for part in ("deit: rollout", "other: lrp", "timm:other", "embedded:photo", "checksum 0badf00d"):
        assert part in text


def test_a_run_of_one_method_without_a_reference(tmp_path):
    text = " ".join(read(page_of(write_run(tmp_path / "run", rows_of(methods=("rollout",))))).text)
    assert "it is the only method" in text
    assert "Minus" not in text


def test_old_settings_do_not_matter(tmp_path):
    folder = write_run(tmp_path / "run", rows_of())
    (folder / "run.json").write_text('{"format": 1}')
    assert "agcam has the highest IoU" in page_of(folder)


def test_gallery_names_images_without_pictures(folder):
    html = page_of(folder)
    assert "<img" not in html
    assert '<div class="no-picture"><span>photo_' in html


def test_gallery_shows_stored_heatmaps_and_else_photographs(tmp_path):
    data = tmp_path / "data"
    (data / "cat").mkdir(parents=True)
    rows = [
        row("localization", f"cat/{i}.png", m, 0.1 * i) for i in range(1, 8) for m in ("agcam", "rollout")
    ]
    for i in range(1, 8):
        Image.new("RGB", (300, 200), (20 * i, 0, 0)).save(data / f"cat/{i}.png")
    folder = write_run(tmp_path / "run", rows, data=f"folder:{data}")
    (folder / "gallery").mkdir()
    left, grey = np.zeros((4, 4)), Image.new("RGB", (60, 40), (128, 128, 128))
    left[:, 0] = 3.0
    key = {"image": "cat/7.png", "method": "agcam", "target": 0}
    stored = pictures_frame(to_pictures("localization", {"cat/7.png": grey}, [key], [left]))
    stored.write_parquet(folder / "gallery" / "part-000000-00000000.parquet")
    html = page_of(folder)
    assert html.count('src="data:image/jpeg;base64,') == 6
    assert html.count('alt="heatmap of agcam over a photograph: cat, cat/7.png"') == 1
    assert html.count('alt="photograph: cat, cat/7.png"') == 1
    address = re.search(r'src="data:image/jpeg;base64,([^"]+)" alt="heatmap of agcam', html)[1]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(address))), dtype=int)
    assert drawn.shape == (149, 224, 3)  # the stored photograph's shape, enlarged
    colourful = np.ptp(drawn, axis=2)
    assert colourful[:, :20].min() > 60
    assert colourful[:, 120:].max() < 20
    # neither a picture that isn't one nor a torn file stops a report
    stored.with_columns(picture=pl.lit(b"not a picture")).write_parquet(
        folder / "gallery" / "part-000000-00000000.parquet"
    )
    assert 'alt="photograph: cat, cat/7.png"' in page_of(folder)
    (folder / "gallery" / "part-000001-00000000.parquet").write_bytes(b"PAR1")
    assert 'alt="photograph: cat, cat/7.png"' in page_of(folder)


def test_no_file_outside_the_dataset_is_read(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (tmp_path / "data").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "data" / "[a].png")
    (run,) = read_runs([write_run(tmp_path / "run", rows_of(), data=f"folder:{tmp_path / 'data'}")])
    assert find_photograph(run, "[a].png") == tmp_path / "data" / "[a].png"
    for image in ("../secret.png", str(tmp_path / "secret.png"), "*.png", "missing.png"):
        assert find_photograph(run, image) is None


@pytest.mark.parametrize(
    ("kind", "image", "file"),
    [
        ("cub", "001.Albatross/a.jpg", "CUB_200_2011/images/001.Albatross/a.jpg"),
        ("voc", "2008_000001", "VOC2012/JPEGImages/2008_000001.jpg"),
        ("tiny-imagenet", "val_0.JPEG", "val/images/val_0.JPEG"),
        ("coco", "000000000001", "val2017/000000000001.jpg"),
        ("imagenet", "ILSVRC2012_val_00000001", "Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG"),
    ],
)
def test_photographs_of_every_layout_are_found(tmp_path, kind, image, file):
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(path, "JPEG")
    (run,) = read_runs([write_run(tmp_path / "run", rows_of(), data=f"{kind}:{tmp_path / 'data'}")])
    assert find_photograph(run, image) == path


def test_a_report_imports_nothing_that_a_run_names(tmp_path, monkeypatch):
    (tmp_path / "vt_evil.py").write_text("raise SystemExit('imported')")
    (tmp_path / "data").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    data, names = (
        f"vt_evil:KIND:{tmp_path / 'data'}",
        {"methods": ["vt_evil:METHOD"], "tests": ["vt_evil:MEASURE"]},
    )
    folder = write_run(tmp_path / "run", rows_of(), data=data, **names)
    assert "photo_001.jpg" in page_of(folder)


def test_best_median_and_worst(tmp_path):
    values = [0.3, 0.9, 0.1, 0.5, 0.7]
    rows = [row("localization", str(i), "agcam", value) for i, value in enumerate(values)]
    (run,) = read_runs([write_run(tmp_path / "run", rows)])
    scores = read_scores(run, "localization")
    found = [(each.rank, each.image, each.score) for each in examples(scores, "iou", "agcam")]
    assert found == [("best", "1", 0.9), ("median", "3", 0.5), ("worst", "2", 0.1)]
    assert [each.image for each in examples(scores, "iou", "agcam", sign=-1)] == ["2", "3", "1"]


def test_class_differences(tmp_path):
    rows = []
    for target, images, gain in ((0, 5, 0.1), (1, 6, -0.3), (2, 4, 0.6)):
        for i in range(images):
            image = f"{target}-{i}"
            rows.append(
                row("localization", image, "agcam", 0.4 + gain, target=target, class_name=f"class {target}")
            )
            rows.append(
                row("localization", image, "rollout", 0.4, target=target, class_name=f"class {target}")
            )
    (run,) = read_runs([write_run(tmp_path / "run", rows)])
    found = class_differences(read_scores(run, "localization"), "iou", "agcam", "rollout")
    # class 2 differs most, but has too few images
    assert [(each.name, each.estimate.images) for each in found] == [("class 0", 5), ("class 1", 6)]
    assert [each.estimate.mean for each in found] == pytest.approx([0.1, -0.3])


def test_templates_escape_text_and_attributes():
    """All but the style sheet, which is ours, whatever is added to them."""
    environment = page_templates()
    template = environment.from_string('<p title="{{ text }}">{{ text }}</p>')
    escaped = "&#34;&lt;&amp;&#39;&gt;"
    assert template.render(text="\"<&'>") == f'<p title="{escaped}">{escaped}</p>'
    names = environment.list_templates(extensions=["html"])
    assert len(names) > 5
    for name in names:
        source, _, _ = environment.loader.get_source(environment, name)
        assert not re.search(r"\|\s*safe|autoescape", source), f"{name} has something that isn't escaped"
        assert not re.search(r"=\s*\{\{", source), f"{name} has an attribute without quotes"


def test_a_name_that_is_misspelt_in_a_template_is_an_error():
    with pytest.raises(UndefinedError, match="'sections' is undefined"):
        page_templates().from_string("{{ sections }}").render()


def test_the_page_needs_jinja_and_says_so(folder):
    code = "import sys\nsys.modules['jinja2'] = None\nfrom vitcam.cli import main\nmain()"
    command = [sys.executable, "-c", code, "report", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    said = " ".join(result.stderr.split())
    assert "needs Jinja2, which isn't installed: pip install 'vitcam[eval]'" in said
    assert "Traceback" not in result.stderr
    assert "Localization: Means" in result.stdout  # the tables come first
    assert subprocess.run([*command, "--no-html"], capture_output=True, check=False).returncode == 0


def test_every_table_of_the_page_has_the_texts_of_the_others(folder):
    """The terminal, Markdown, LaTeX and the page show the same cells."""
    runs = read_runs([folder])
    tables = score_tables(runs)
    html = report_page(runs, tables)
    grids = as_grids(tables, several_runs=False)
    texts = [" ".join(text.split()) for text in read(html).text]
    for grid in grids:
        cells = [cell.text for one in grid.rows for cell in one.cells if cell.text]
        assert set(cells) <= set(texts)
    assert html.count('<div class="wide"') > len(grids)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.0, 0.55), [0.0, 0.2, 0.4, 0.6]),
        ((0.0, 0.0), [0.0, 0.01]),
        ((-0.1, 0.1), [-0.1, -0.05, 0.0, 0.05, 0.1]),
    ],
)
def test_ticks(ends, expected):
    assert ticks(*ends) == pytest.approx(expected)
