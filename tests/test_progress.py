"""How far long work is."""

from __future__ import annotations

import pytest
import torch

import vitcam
from vitcam.progress import watched


@pytest.fixture(scope="module")
def model():
    return vitcam.load_model("embedded:photo")


def test_a_function_is_told_after_each_batch(model):
    seen = []
    images = torch.randn(5, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    vitcam.explain(model, images, batch_size=2, progress=lambda *pair: seen.append(pair))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    vitcam.compare(model, images[:1], ["agcam", "attention"], progress=lambda *pair: seen.append(pair))
    assert seen[3:] == [(1, 1)]


def test_a_bar_on_stderr(model, capsys):
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    vitcam.explain(model, images, batch_size=1, progress=True)
    captured = capsys.readouterr()
    assert "2/2" in captured.err
    assert not captured.out
    vitcam.explain(model, images)
    assert not capsys.readouterr().err


def test_an_error_closes_the_bar(capsys):
    def failing():
        with watched(True, "image") as tell:
            tell(1, 3)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        failing()
    assert "1/3" in capsys.readouterr().err
