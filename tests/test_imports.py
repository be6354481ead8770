"""Which room may import which, and what importing vitcam costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vitcam"

VALUES = {"types", "errors"}
INPUT = {"images"}
OUTPUT = {"writing"}
FOUND = {"recording", "heatmap", "boxes", "probability"}
JOINED = {
    "models",
    "methods",
    "targets",
    "inputs",
    "batching",
    "explanation",
    "explaining",
    "decomposing",
    "render",
}

# Room → the rooms of ours that it may import, besides itself.
MAY_IMPORT = {
    "types": set(),
    "errors": set(),
    "lazy": set(),
    "threads": set(),
    "walking": set(),
    "printable": set(),
    "images": VALUES | {"walking"},
    "writing": VALUES,
    "photos": VALUES,
    "models": VALUES | INPUT | {"lazy"},
    "recording": VALUES,
    "heatmap": VALUES,
    "boxes": VALUES,
    "probability": VALUES,
    "render": VALUES,
    "methods": VALUES | {"recording"},
    "targets": VALUES | {"recording"},
    "inputs": VALUES | INPUT | {"models", "threads"},
    "explanation": VALUES | {"heatmap", "boxes", "probability", "render"},
    "batching": VALUES | FOUND | {"models", "targets", "inputs"},
    "explaining": VALUES | INPUT | FOUND | JOINED,
    "decomposing": VALUES | FOUND | {"methods", "targets", "inputs", "batching"},
    "evaluation": VALUES | INPUT | OUTPUT | FOUND | JOINED | {"lazy", "threads", "walking"},
    # Of evaluation a report reads the rows and their statistics, neither of which needs torch.
    "report": VALUES | {"render", "evaluation", "lazy"},
    "export": VALUES | INPUT | FOUND | JOINED | {"photos", "__init__"},
    "bench": VALUES | INPUT | FOUND | JOINED | {"evaluation", "export", "photos", "lazy", "__init__"},
    "app": VALUES | INPUT | FOUND | JOINED | {"photos", "printable", "__init__"},
    "cli": VALUES
    | INPUT
    | OUTPUT
    | FOUND
    | JOINED
    | {"evaluation", "report", "export", "bench", "app", "photos", "printable", "threads", "__init__"},
    "__init__": VALUES | {"lazy", "models", "explanation", "explaining"},
    "__main__": {"cli"},
}
# Library → the only rooms that may import it.
VENDORS = {
    "timm": {"models"},
    "transformers": {"models"},
    "torchvision": {"models"},
    "open_clip": {"models"},
    "huggingface_hub": {"models"},
    "ray": {"evaluation"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "gradio": {"app"},
}
NO_TORCH = {
    "report",
    "types",
    "errors",
    "render",
    "images",
    "printable",
    "walking",
    "writing",
    "photos",
    "__init__",
}


def imports_of(file: Path) -> set[str]:
    """Every module a file imports, also inside functions; not what only a type checker reads."""
    tree = ast.parse(file.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where something is from"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_import_rules(file):
    room = room_of(file)
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import"
    for module in imports_of(file):
        parts = module.split(".")
        if parts[0] == "vitcam":
            other = (
                parts[1]
                if (SOURCE / parts[1]).is_dir() or (SOURCE / f"{parts[1]}.py").is_file()
                else "__init__"
            )
            assert other == room or other in MAY_IMPORT[room], f"{file} may not import {module}"
        assert room in VENDORS.get(parts[0], {room}), (
            f"{file}: only {VENDORS[parts[0]]} may import {parts[0]}"
        )
        assert not (room in NO_TORCH and parts[0] == "torch"), f"{file} may not import torch"


def test_rules_are_read_from_functions_too(tmp_path):
    file = tmp_path / "sample.py"
    file.write_text("def f():\n    import timm.models\n    from vitcam.cli import main\n")
    assert imports_of(file) == {"timm.models", "vitcam.cli.main"}


@pytest.mark.parametrize(
    "module", ["vitcam", "vitcam.cli", "vitcam.render", "vitcam.types", "vitcam.models", "vitcam.report"]
)
def test_importing_needs_no_torch(module):
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_exist():
    import vitcam

    assert set(vitcam.__all__) <= set(dir(vitcam))
    for name in vitcam.__all__:
        assert getattr(vitcam, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vitcam.nonsense


def test_files_are_short():
    long = {
        str(file.relative_to(SOURCE)): n for file in FILES if (n := len(file.read_text().splitlines())) > 350
    }
    assert not long, f"one idea per file; these have grown beyond that: {long}"
