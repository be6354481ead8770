"""Parts: each is known by its digest, few are made of many, and nothing is lost by that."""

from __future__ import annotations

import polars as pl
import pytest
from numpy.random import default_rng

from vitcam.evaluation import RunError, parts
from vitcam.evaluation.parts import Parts
from vitcam.evaluation.rows import merged
from vitcam.evaluation.store import RunFolder
from vitcam.evaluation.stored_rows import StoredRows

KNOWN = ("task", "image", "method", "target", "class_name", "label", "predicted", "correct", "error")


def rows_of(images, iou=0.5, predicted=0, correct=True, error=None, task="localization"):
    """A table of rows, two methods for each image."""
    rows = [
        {
            "task": task,
            "image": f"{image:05d}",
            "method": None if error else method,
            "target": None if error else predicted,
            "class_name": None if error else "cat",
            "label": None if error else 0,
            "predicted": None if error else predicted,
            "correct": None if error else correct,
            "error": error,
            "iou": iou if correct and not error else None,
        }
        for image in images
        for method in ("agcam", "center")
    ]
    types = {
        "iou": pl.Float64,
        "correct": pl.Boolean,
        **dict.fromkeys(("target", "label", "predicted"), pl.Int64),
    }
    schema = {name: types.get(name, pl.String) for name in (*KNOWN, "iou")}
    return pl.DataFrame(rows[:: 2 if error else 1], schema=schema)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "rows").mkdir()
    return RunFolder(tmp_path)


def read(folder):
    return StoredRows(tuple(Parts(folder / "rows").verified()))


def test_every_single_flipped_bit_is_noticed(run):
    run.append(rows_of(range(40)))
    (path,) = run.rows.paths()
    content = path.read_bytes()
    random = default_rng(0)
    for bit in random.choice(8 * len(content), 300, replace=False).tolist():
        spoilt = bytearray(content)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        with pytest.raises(
            RunError, match=r"part-000000-\w{32}\.parquet is damaged .*delete it, and `vitcam evaluate`"
        ):
            RunFolder(run.path).read()
    path.write_bytes(content)
    assert RunFolder(run.path).read().height == 80


def test_cut_and_lengthened_files_are_noticed(run):
    run.append(rows_of(range(4)))
    (path,) = run.rows.paths()
    content = path.read_bytes()
    for spoilt in (b"", content[:-1], content + b"\0", content[:50]):
        path.write_bytes(spoilt)
        with pytest.raises(RunError, match="is damaged"):
            RunFolder(run.path).read()


def test_parts_without_a_digest_are_read_and_damage_that_makes_polars_panic_is_named(run, monkeypatch):
    rows_of(range(3)).write_parquet(run.path / "rows" / "part-000000-0123abcd.parquet")
    assert RunFolder(run.path).read().height == 6

    def panic(*_, **__):
        raise pl.exceptions.PanicException("index out of bounds")

    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(RunError, match=r"part-000000-0123abcd\.parquet is damaged \(index out of bounds\)"):
        RunFolder(run.path).read()


def test_an_image_that_was_done_twice_has_one_outcome(run):
    """The same batch, done again, with another prediction: on another machine, say."""
    run.append(rows_of(range(8), iou=0.3))
    run.append(rows_of(range(4), predicted=1, correct=False))
    rows = run.read()
    assert rows.height == 16
    assert rows["correct"].all()
    assert rows["iou"].to_list() == [0.3] * 16
    images = run.stored_rows.of("localization")
    assert images["correct"].to_list() == [True] * 8


def test_the_outcome_is_the_first_one_whichever_it_is(run):
    run.append(rows_of([1], predicted=1, correct=False))
    run.append(rows_of([1], iou=0.9))
    assert run.read()["correct"].to_list() == [False, False]
    assert run.stored_rows.images["correct"].to_list() == [False]


def test_scores_count_more_than_an_error_that_came_first(run):
    run.append(rows_of([1, 2], error="can't be read"))
    run.append(rows_of([1], iou=0.7))
    assert run.read()["iou"].to_list() == [0.7, 0.7, None]
    assert run.stored_rows.images.select("image", "scored", "error").rows() == [
        ("00001", True, None),
        ("00002", False, "can't be read"),
    ]


def test_a_part_that_holds_an_image_twice_is_read_once(run):
    rows = rows_of(range(3))
    run.append(pl.concat([rows, rows]))
    assert run.read().equals(merged([rows]))


def test_adding_never_lists_the_folder_again(run, monkeypatch):
    run.append(rows_of([0]))
    monkeypatch.setattr(Parts, "paths", lambda self: pytest.fail("listed"))
    for i in range(1, 20):
        run.append(rows_of([i]))
    monkeypatch.undo()
    assert run.read().height == 40
    assert [int(path.name.split("-")[1]) for path in run.rows.paths()] == list(range(20))


def test_many_small_parts_become_few(run, monkeypatch):
    for i in range(300):
        run.append(rows_of([i]))
    assert len(run.rows.paths()) < 60
    assert run.read().equals(merged([rows_of(range(300))]))
    RunFolder(run.path).put_together(at_least=2)
    assert len(run.rows.paths()) == 1
    assert RunFolder(run.path).read().equals(merged([rows_of(range(300))]))


def test_the_first_outcome_stays_the_first_when_parts_are_put_together(run):
    run.append(rows_of([1], iou=0.1))
    run.append(rows_of([2], iou=0.2))
    RunFolder(run.path).put_together(at_least=2)
    late = RunFolder(run.path)
    late.append(rows_of([1], iou=0.9))
    late.put_together(at_least=2)
    assert RunFolder(run.path).read()["iou"].to_list() == [0.1, 0.1, 0.2, 0.2]


@pytest.mark.parametrize("when", ["before anything is written", "before the old ones go", "amid them"])
def test_a_kill_while_parts_are_put_together_loses_nothing(run, monkeypatch, when):
    for i in range(6):
        run.append(rows_of([i]))
    whole, removed = run.read(), []

    def killed(*_):
        raise KeyboardInterrupt

    def remove(path, missing_ok=False):
        if path.suffix != ".parquet":
            return remover(path, missing_ok=missing_ok)
        if when == "before the old ones go" or len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(path)
        return remover(path, missing_ok=missing_ok)

    remover = type(run.path).unlink
    with monkeypatch.context() as patched:
        if when == "before anything is written":
            patched.setattr(parts, "write_stored", killed)
        else:
            patched.setattr(parts.Path, "unlink", remove)
        with pytest.raises(KeyboardInterrupt):
            run.put_together(at_least=2)
    assert RunFolder(run.path).read().equals(whole)
    RunFolder(run.path).put_together(at_least=2)
    assert RunFolder(run.path).read().equals(whole)
    assert len(run.rows.paths()) == 1


def test_a_damaged_part_is_not_put_together_with_others(run):
    for i in range(4):
        run.append(rows_of([i]))
    path = run.rows.paths()[1]
    path.write_bytes(b"PAR1")
    late = RunFolder(run.path)
    late.put_together(at_least=2)
    assert path in run.rows.paths()
    with pytest.raises(RunError, match=f"{path.name} is damaged"):
        late.read()


def test_rows_are_read_some_images_at_a_time(run):
    random = default_rng(1)
    order = random.permutation(100)
    for start in range(0, 100, 9):
        run.append(rows_of(sorted(order[start : start + 9].tolist())))
    run.append(rows_of([5, 6], predicted=1, correct=False))
    rows = run.stored_rows
    chunks = list(rows.chunks("localization", ["iou"], at_once=7))
    assert [len(images) for images, _ in chunks] == [7] * 14 + [2]
    together = pl.concat(chunk for _, chunk in chunks)
    assert together.equals(run.read().select(together.columns))
    assert not list(rows.chunks("perturbation", ["iou"]))


def test_a_part_that_vanishes_while_it_is_read_is_said_so(run):
    run.append(rows_of([0]))
    rows = run.stored_rows
    run.rows.paths()[0].unlink()
    with pytest.raises(
        RunError, match=r"is gone: the run that is going on has just put it together with others"
    ):
        _ = rows.images
