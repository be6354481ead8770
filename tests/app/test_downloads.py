import ast
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from visitors import ticket, whole

from vitcam.app.answers import Question, answer
from vitcam.app.downloads import layers_script, script
from vitcam.app.drawing import Look, grid
from vitcam.app.layers import heads_of, take_apart
from vitcam.app.photo_files import photo_file
from vitcam.app.ranking import Case


def run(code, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        check=True,
        timeout=120,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def maps_of(code, folder):
    run(code, folder)
    return np.load(folder / "maps.npz"), Image.open(folder / "panel.png")


def test_gives_the_same_maps_and_picture(ask, tmp_path):
    given = ask(1, 42, methods=["agcam", "attention(layer=3)"])
    maps, picture = maps_of(script(given, Look(opacity=0.6, boxes=True, threshold=0.4)), tmp_path)
    assert sorted(maps) == ["agcam", "attention(layer=3)"]
    for name, one in given.explanations.items():
        np.testing.assert_allclose(maps[name], one.heatmaps[0].numpy(), rtol=1e-4, atol=1e-7)
    expected = grid(given, Look(opacity=0.6, boxes=True, threshold=0.4))
    assert picture.size == expected.size
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected)).mean() < 0.1


def test_gives_the_same_map_of_some_heads(ask, cache, policy, tmp_path):
    given = ask(1, 42, methods=["agcam"])
    parts = take_apart(given, cache, policy, ticket())
    on = np.ones((6, 6), dtype=bool)
    on[5] = on[2, 3] = False
    heads = heads_of(parts, 1).switched({"on": on.tolist()})
    said = run(layers_script(given, heads), tmp_path)
    expected = parts.total(torch.from_numpy(on))[0, 1].numpy()
    np.testing.assert_allclose(np.load(tmp_path / "agcam.npy"), expected, rtol=1e-4, atol=1e-7)
    assert said == f"{heads.share:.1%} of the map\n"


def test_own_photographs_are_read_where_the_script_runs(cache, policy, mine, tmp_path):
    case = Case(photo_file((str(mine), "")), "embedded:photo")
    given = whole(answer(Question(case, ("gradcam",), (1,)), cache, policy, ticket()))
    code = script(given, Look())
    assert str(mine.parent) not in code
    maps, _ = maps_of(code, mine.parent)
    np.testing.assert_allclose(maps["gradcam"], given.first.heatmaps[0].numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "text", ['"); import os; os.system("x") #', "a\\", "'''\"\"\"", "{x} %s", "ä\u2028b"]
)
def test_what_visitors_typed_stays_text(ask, cache, policy, text):
    given = ask(spec="open_clip:fake", texts=[text, "b"], methods=["agcam"])
    tree = ast.parse(script(given, Look()))
    ast.parse(layers_script(given, heads_of(take_apart(given, cache, policy, ticket()), 0)))
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert text in strings
    imports = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert imports == {"numpy", "vitcam"}
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "os.system" not in calls


def test_prompts(ask):
    code = script(ask(1, spec="open_clip:fake", texts=["a cat", "a dog"], methods=["agcam"]), Look())
    assert "load_model('open_clip:fake').with_prompts(['a cat', 'a dog'])" in code
    assert "targets=[[1]])  # 'a dog'" in code
    assert "boxes" not in code
