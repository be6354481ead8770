"""Python code that makes the same maps and the same picture."""

from __future__ import annotations

from vitcam import __version__
from vitcam.app.answering import Answer
from vitcam.app.drawing import Look

_SCRIPT = '''\
"""Where a model looks. Written by the app of vitcam {version}."""

{imports}

photograph = {photograph}
model = {model}
explanations = vitcam.compare(model, photograph, methods={methods}, targets=[{classes}])  # {names}

first, *_ = explanations.values()
targets = range(first.targets.shape[1])
panel(
    first.photographs[0],
    [[{cell} for e in explanations.values()] for t in targets],
    row_labels=[f"{{first.label(0, t)}}\\n{{first.probabilities[0, first.targets[0, t]]:.1%}}" for t in targets],
    column_labels=list(explanations),
    opacity={opacity!r},
).save("panel.png")
np.savez_compressed("maps.npz", **{{name: e.heatmaps[0].numpy() for name, e in explanations.items()}})
'''


def script(answer: Answer, look: Look) -> str:
    """Python code that makes an answer's maps anew, saves them and draws them.

    It holds what visitors typed and what their files are called only as quoted strings, so that running it runs
    nothing of theirs.
    """
    subject, shipped = answer.subject, answer.subject.photograph.shipped
    model = f"vitcam.load_model({subject.spec!r})"
    if subject.prompts:
        model = f"replace({model}.with_prompts({list(subject.prompts)!r}), text_encoder=None)"
    boxes = f", boxes=e.boxes({look.threshold!r})[0][t]" if look.boxes else ""
    return _SCRIPT.format(
        version=__version__,
        imports=_imports(prompts=bool(subject.prompts), shipped=bool(shipped)),
        photograph=f"photo_path({shipped!r})" if shipped else f"{subject.photograph.name!r}  # your file",
        model=model,
        methods=repr(list(answer.explanations)),
        classes=answer.classes,
        names=", ".join(map(repr, answer.names)),
        cell=f"Cell(e.upsampled()[0, t].numpy(){boxes})",
        opacity=look.opacity,
    )


def _imports(*, prompts: bool, shipped: bool) -> str:
    return "\n".join(
        [
            *(["from dataclasses import replace", ""] if prompts else []),
            "import numpy as np",
            "",
            "import vitcam",
            *(["from vitcam.photos import photo_path"] if shipped else []),
            "from vitcam.render import Cell, panel",
        ]
    )
