"""Python code that makes the same maps and the same picture."""

from __future__ import annotations

from vitcam import __version__
from vitcam.app.answering import Answer
from vitcam.app.drawing import Look
from vitcam.app.heads import Heads

_SCRIPT = '''\
"""Where a model looks. Written by the app of vitcam {version}."""

{imports}

photograph = {photograph}
model = {model}
explanations = vitcam.compare(model, photograph, methods={methods}, targets=[{classes}])  # {names}

vitcam.figure(
    explanations, {boxes}photo_label={photo_label}, notes=[{spec!r}], opacity={opacity!r}
).save("panel.png")
np.savez_compressed("maps.npz", **{{name: e.heatmaps[0].numpy() for name, e in explanations.items()}})
'''

_LAYERS_SCRIPT = '''\
"""Which layers and heads a map comes from. Written by the app of vitcam {version}."""

{imports}

photograph = {photograph}
model = {model}
parts = vitcam.decompose(model, photograph, targets=[[{target}]])  # {name}

on = torch.tensor(  # layers × heads
    {on},
    dtype=torch.bool,
)
print(f"{{parts.shares[0, 0][on].sum():.1%}} of the map")
np.save("agcam.npy", parts.total(on)[0, 0].numpy())
'''


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
        photo_label=repr(answer.subject.photograph.name),
        spec=answer.subject.spec,
        opacity=look.opacity,
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


def _source(answer: Answer, libraries: list[str], ours: list[str]) -> dict[str, str]:
    """What both kinds of code begin with: the model, its photograph, and the imports for them."""
    subject, shipped = answer.subject, answer.subject.photograph.shipped
    model = f"vitcam.load_model({subject.spec!r})"
    if subject.prompts:
        model = f"replace({model}.with_prompts({list(subject.prompts)!r}), text_encoder=None)"
    blocks = [
        ["from dataclasses import replace"] if subject.prompts else [],
        [f"import {name}" for name in libraries],
        [
            "import vitcam",
            *(f"from {name}" for name in (*(["vitcam.photos import photo_path"] if shipped else []), *ours)),
        ],
    ]
    return {
        "version": __version__,
        "imports": "\n\n".join("\n".join(lines) for lines in blocks if lines),
        "photograph": f"photo_path({shipped!r})" if shipped else f"{subject.photograph.name!r}  # your file",
        "model": model,
    }
