"""What a method's map costs: measured in the run, kept apart from what must be the same on resumption."""

from __future__ import annotations

import json

import miniature
import pytest

from vitcam.errors import RunError
from vitcam.evaluation import evaluate, measuring_costs
from vitcam.evaluation.costs import read_costs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return miniature.make_dataset(tmp_path_factory.mktemp("data"), images=6)


def run(data, output, **settings):
    model = miniature.make_model()
    return evaluate("localization", f"folder:{data}", model, miniature.METHODS, output, **settings)


@pytest.fixture
def asked(monkeypatch):
    """The methods that were timed, each with the number of images, on a clock that each call sets on by 0.2 s."""
    calls, real, now = [], measuring_costs.compared, [0.0]

    def compared(module, images, methods, *options):
        calls.append((*methods, len(images)))
        now[0] += 0.2
        return real(module, images, methods, *options)

    monkeypatch.setattr(measuring_costs, "compared", compared)
    monkeypatch.setattr(measuring_costs.time, "perf_counter", lambda: now[0])
    return calls


def test_every_method_is_timed_by_itself_per_map(data, tmp_path, asked):
    summary = run(data, tmp_path / "run", batch_size=4)
    costs = read_costs(tmp_path / "run")
    methods = ["agcam", "rollout", "random", "center"]
    assert asked == [(method, 4) for method in methods]  # four images of which all could be read
    assert costs["ms_per_map"] == {method: [pytest.approx(50.0)] for method in methods}
    assert costs["batch_size"] == 4
    assert "ms_per_map" not in json.dumps(summary)


def test_resumed_with_nothing_to_do_nothing_is_timed(data, tmp_path, asked):
    run(data, tmp_path / "run")
    before = (tmp_path / "run" / "costs.json").read_text()
    count = len(asked)
    run(data, tmp_path / "run")
    assert len(asked) == count
    assert (tmp_path / "run" / "costs.json").read_text() == before


def test_a_long_run_is_timed_in_turns(data, tmp_path, asked, monkeypatch):
    """As many rounds as take less than their share of the run."""
    monkeypatch.setattr(measuring_costs, "SHARE", 1.0)
    real = measuring_costs.measure_costs
    monkeypatch.setattr(
        "vitcam.evaluation.runner.measure_costs",
        lambda *given: real(*given[:3], 2.5),  # a run of 2.5 s
    )
    run(data, tmp_path / "run")
    assert {len(times) for times in read_costs(tmp_path / "run")["ms_per_map"].values()} == {3}
    assert [call[0] for call in asked] == ["agcam", "rollout", "random", "center"] * 3


@pytest.mark.parametrize(("seconds", "images"), [(60.0, 4), (150.0, 2), (600.0, 1), (1e6, 1)])
def test_methods_of_many_passes_are_timed_on_fewer_images(
    data, tmp_path, asked, monkeypatch, seconds, images
):
    """Of six images, of which some are predicted wrong, as many as a minute or ``SHARE`` of the run suffice for."""
    real = measuring_costs.measure_costs
    monkeypatch.setattr("vitcam.evaluation.runner.measure_costs", lambda *given: real(*given[:3], seconds))
    run(data, tmp_path / "run", batch_size=4)
    assert {call[1] for call in asked} == {images}
    assert read_costs(tmp_path / "run")["batch_size"] == images


def test_where_nothing_was_scored_nothing_is_timed(tmp_path, asked):
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "cat" / "a.png").write_bytes(b"broken")
    evaluate(
        "perturbation", f"folder:{tmp_path / 'data'}", miniature.make_model(), ["agcam"], tmp_path / "run"
    )
    assert asked == []
    assert read_costs(tmp_path / "run") is None


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "costs.json").write_text('{"ms_per_map": {"agcam": ["fast"]}}')
    with pytest.raises(RunError, match=r"costs\.json is damaged \(ValueError.*Delete it"):
        read_costs(tmp_path)
