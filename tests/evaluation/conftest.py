"""A miniature run."""

from __future__ import annotations

import miniature
import pytest

from vitcam.evaluation import evaluate
from vitcam.evaluation.store import RunFolder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return miniature.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model():
    return miniature.make_model()


@pytest.fixture
def run(data, model, tmp_path):
    """Evaluates the miniature dataset; keywords override."""

    def run(task="localization", output=tmp_path / "run", **changed):
        given = {"data": f"folder:{data}", "model": model, "methods": miniature.METHODS}
        settings = {"batch_size": 4, "workers": 0}
        given = {key: changed.pop(key, value) for key, value in given.items()}
        return evaluate(task, **given, output=output, **{**settings, **changed})

    return run


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")
