"""The documented script prepares photographs as vitcam does."""

from __future__ import annotations

import ast
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitcam.models.preprocessing import Preprocessing
from vitcam.photos import photo_path

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def prepare():
    """The function ``prepare`` of the page's script."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (script,) = (ast.parse(block) for block in blocks if "def prepare" in block)
    (function,) = (node for node in script.body if isinstance(node, ast.FunctionDef))
    names = {"np": np, "Image": Image}
    exec(compile(ast.Module([function], []), str(PAGE), "exec"), names)
    return names["prepare"]


@pytest.mark.parametrize("photo", ["cat_and_cup", "cup"])
@pytest.mark.parametrize(
    ("resize_mode", "resize", "interpolation"),
    [("squash", None, "bicubic"), ("squash", (40, 60), "bilinear"), ("shortest", (40, 40), "bicubic")],
)
def test_photographs_are_prepared_as_in_python(prepare, photo, resize_mode, resize, interpolation):
    how = Preprocessing(
        size=(32, 36),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.2, 0.3),
        resize=resize,
        resize_mode=resize_mode,
        interpolation=interpolation,
    )
    opened = Image.open(photo_path(photo)).convert("RGB")
    found = prepare(opened, asdict(how))
    assert (found.dtype, found.shape) == (np.float32, (1, 3, 32, 36))
    np.testing.assert_allclose(found[0], how(opened).numpy(), atol=1e-5)
