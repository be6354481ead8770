"""What visitors take home: the picture, the maps, and Python code that makes the same."""

from __future__ import annotations

import io
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitcam import __version__
from vitcam.app.answers import Answer
from vitcam.app.drawing import Look, grid
from vitcam.app.figures import animations
from vitcam.app.layers import Heads
from vitcam.app.tabs import Tab

_SCRIPT = '''\
"""Where a model looks. Written by the app of vitcam {version}."""

{imports}

{noun} = {file}
model = {model}
explanations = vitcam.compare(model, {noun}, methods={methods}, targets=[{classes}])  # {names}

vitcam.figure(
    explanations, {boxes}photo_label={photo_label}, notes=[{spec!r}], opacity={opacity!r}
).save("panel.png")
{moving}np.savez_compressed("maps.npz", **{{name: e.heatmaps[0].numpy() for name, e in explanations.items()}})
'''

_MOVING = """\
first = next(iter(explanations.values()))
vitcam.animation(first, opacity={opacity!r}).save("moving.webp")
"""

_LAYERS_SCRIPT = '''\
"""Which layers and heads a map comes from. Written by the app of vitcam {version}."""

{imports}

{noun} = {file}
model = {model}
parts = vitcam.decompose(model, {noun}, targets=[[{target}]])  # {name}

on = torch.tensor(  # layers × heads
    {on},
    dtype=torch.bool,
)
print(f"{{parts.shares[0, 0][on].sum():.1%}} of the map")
np.save("agcam.npy", parts.total(on)[0, 0].numpy())
'''


def kinds_of(tab: Tab) -> list[tuple[str, str]]:
    """What can be taken home of an answer: what it is called, and what its button is."""
    kinds = [("Picture (PNG)", "panel"), ("Maps (npz)", "npz"), ("Code (Python)", "script")]
    return kinds if tab.kind.moments is None else [*kinds, ("Animation (WebP)", "moving")]


def write_downloads(answer: Answer, look: Look, folder: Path) -> tuple[list[Path], str]:
    """Writes the picture, the maps and the code of an answer, and the animation of its first map, where there is one.

    Returns:
        Their files, in the order of ``kinds_of``, and the code.
    """
    code = script(answer, look)
    stem = _file_name(f"{Path(answer.case.file.name).stem}.{answer.case.spec}")
    contents = {"png": png(grid(answer, look)), "npz": maps_npz(answer), "py": code.encode()}
    for _, content in islice(animations(answer, look), 1):
        contents["webp"] = content
    files = [folder / f"{stem}.{suffix}" for suffix in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content)
    return files, code


def script(answer: Answer, look: Look) -> str:
    """Python code that makes an answer's maps anew, saves them and draws them.

    It holds what visitors typed and what their files are called only as quoted strings, so that running it runs
    nothing of theirs.
    """
    return _SCRIPT.format(
        **_source(answer, ["numpy as np"], []),
        methods=repr(list(answer.explanations)),
        classes=answer.classes,
        names=", ".join(map(repr, answer.names)),
        boxes=f"boxes={look.threshold!r}, " if look.boxes else "",
        photo_label=repr(answer.case.file.name),
        spec=answer.case.spec,
        opacity=look.opacity,
        moving=_MOVING.format(opacity=look.opacity) if answer.case.file.tab.kind.moments else "",
    )


def layers_script(answer: Answer, heads: Heads) -> str:
    """Python code that makes the map of the heads that are switched on, and saves it. Likewise harmless."""
    rows = (f"[{', '.join(str(int(on)) for on in row)}]" for row in heads.on)
    return _LAYERS_SCRIPT.format(
        **_source(answer, ["numpy as np", "torch"], []),
        target=answer.classes[heads.target],
        name=repr(answer.names[heads.target]),
        on="[{}]".format(",\n     ".join(rows)),
    )


def maps_npz(answer: Answer) -> bytes:
    """The raw maps as a compressed ``.npz``.

    By each method's name (classes, h, w) float32, raw values on the patch grid; besides, ``classes`` (their
    indices), ``class_names`` and ``probabilities``.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        name: one.heatmaps[0].cpu().numpy() for name, one in answer.explanations.items()
    }
    arrays["classes"] = np.array(answer.classes)
    arrays["class_names"] = np.array(answer.names)
    arrays["probabilities"] = np.array(answer.probabilities)
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _source(answer: Answer, libraries: list[str], ours: list[str]) -> dict[str, str]:
    """What both kinds of code begin with: the model, the file, and the imports for them."""
    case, shipped = answer.case, answer.case.file.shipped
    model = f"vitcam.load_model({case.spec!r})"
    if case.prompts:
        model = f"replace({model}.with_prompts({list(case.prompts)!r}), text_encoder=None)"
    blocks = [
        ["from dataclasses import replace"] if case.prompts else [],
        [f"import {name}" for name in libraries],
        [
            "import vitcam",
            *(f"from {name}" for name in (*(["vitcam.photos import photo_path"] if shipped else []), *ours)),
        ],
    ]
    return {
        "version": __version__,
        "imports": "\n\n".join("\n".join(lines) for lines in blocks if lines),
        "noun": case.file.tab.noun,
        "file": f"photo_path({shipped!r})" if shipped else f"{case.file.name!r}  # your file",
        "model": model,
    }


def _file_name(text: str) -> str:
    """Only what is harmless in a file's name.

    Example:
        >>> _file_name("cat.timm:vit@/home/me/w.pth")
        'cat.timm-vit-home-me-w.pth'
    """
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[-120:] or "vitcam"
