"""Which room may import which, and what importing vitcam costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "vitcam"
PAGE = "docs/architecture.md"


def table(name: str) -> list[list[str]]:
    """The rows of the page's table behind the comment ``<!-- NAME -->``."""
    text = (REPOSITORY / PAGE).read_text(encoding="utf-8").partition(f"<!-- {name} -->")[2].lstrip()
    _title, _line, *rows = takewhile(lambda line: line.startswith("|"), text.splitlines())
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def names_in(cell: str) -> set[str]:
    """The rooms that a cell names: ``in quotes``, or as a group."""
    words = cell.split()
    assert all(word in GROUPS or word[0] == word[-1] == "`" for word in words), f"what are {cell}?"
    return {name for word in words for name in GROUPS.get(word, {word.strip("`")})}


GROUPS: dict[str, set[str]] = {}
GROUPS.update({group: names_in(rooms) for group, rooms in table("groups")})
# Room → the rooms of ours that it may import, besides itself.
MAY_IMPORT = {room.strip("`"): names_in(others) for room, _what, others in table("rooms")}
# Library → the only room that may import it.
VENDORS = {name: room.strip("`") for names, room in table("libraries") for name in names_in(names)}
WITH_A_FACE = {name for (cell,) in table("with a face") for name in names_in(cell)}
NO_TORCH = {name for (cell,) in table("without torch") for name in names_in(cell)}


def imports_of(file: Path, *, for_types_too: bool = False) -> set[str]:
    """Every module a file imports, also inside functions; not what only a type checker reads, unless asked for."""
    tree = ast.parse(file.read_text())
    for_types = (
        set()
        if for_types_too
        else {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
    )
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
    assert room in MAY_IMPORT, f"{room} is a new room: say in {PAGE} what it does and what it may import"
    for module in imports_of(file):
        parts = module.split(".")
        if parts[0] == "vitcam":
            name = parts[1] if len(parts) > 1 else "__init__"
            is_room = (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()
            other = name if is_room else "__init__"
            assert other == room or other in MAY_IMPORT[room], f"{file} may not import {module}"
        assert room == VENDORS.get(parts[0], room), f"{file}: only {VENDORS[parts[0]]} may import {parts[0]}"
        assert not (room in NO_TORCH and parts[0] == "torch"), f"{file} may not import torch"


def behind_a_face(file: Path, room: str) -> set[str]:
    """What a file of a room imports from inside another room that has a face."""
    return {
        module
        for module in imports_of(file, for_types_too=True)
        for other in WITH_A_FACE - {room}
        if module.startswith(f"vitcam.{other}.") and inner_module(module.split(".")[1:3])
    }


def inner_module(path: list[str]) -> bool:
    return SOURCE.joinpath(*path).is_dir() or SOURCE.joinpath(*path).with_suffix(".py").is_file()


def test_rooms_with_a_face_are_entered_by_it():
    inside = {str(file.relative_to(SOURCE)): behind_a_face(file, room_of(file)) for file in FILES}
    assert not {file: modules for file, modules in inside.items() if modules}
    assert "recording" in WITH_A_FACE <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    "line",
    [
        "from vitcam.recording.blocks import block_input",
        "from vitcam.recording import blocks",
        "import vitcam.recording.blocks",
        "if TYPE_CHECKING:\n    from vitcam.recording.blocks import block_input",
        "def f():\n    from vitcam.recording.blocks import block_input",
    ],
)
def test_what_lies_behind_a_face_is_found(tmp_path, line):
    file = tmp_path / "sample.py"
    file.write_text(f"from vitcam.recording import block_input, record\n{line}\n")
    assert behind_a_face(file, "methods")
    assert not behind_a_face(file, "recording")
    file.write_text("from vitcam.recording import block_input, record\n")
    assert not behind_a_face(file, "methods")


@pytest.mark.parametrize("room", sorted(WITH_A_FACE))
def test_the_names_of_a_face(room):
    """Each is there, and none is also a module's, which would stand in its place once that is imported."""
    face = import_module(f"vitcam.{room}")
    assert set(face.__all__) <= set(dir(face))
    for name in face.__all__:
        assert getattr(face, name) is not None
        assert not inner_module([room, name])


def test_the_page_has_just_the_rooms_that_there_are():
    assert set(MAY_IMPORT) == {room_of(file) for file in FILES}
    assert set().union(NO_TORCH, VENDORS.values(), *MAY_IMPORT.values()) <= set(MAY_IMPORT)
    assert len(MAY_IMPORT) == len(table("rooms"))
    assert {"timm", "gradio"} <= set(VENDORS)
    assert "cli" not in NO_TORCH


def test_the_page_has_just_the_modules_of_the_recording():
    words = " ".join(cell for row in table("inside recording") for cell in row)
    named = set(re.findall(r"`(\w+)`", words))
    assert named == {file.stem for file in (SOURCE / "recording").glob("*.py")} - {"__init__"}


def test_imports_go_down_only():
    """Some order of the rooms has each above all that it may import."""
    left = dict(MAY_IMPORT)
    while ready := {room for room, others in left.items() if not (others - {room}) & set(left)}:
        left = {room: others for room, others in left.items() if room not in ready}
    assert not left, f"these import each other: {left}"


def test_rules_are_read_from_functions_too(tmp_path):
    file = tmp_path / "sample.py"
    file.write_text("def f():\n    import timm.models\n    from vitcam.cli import main\n")
    assert imports_of(file) == {"timm.models", "vitcam.cli.main"}


@pytest.mark.parametrize(
    "module",
    [
        "vitcam",
        "vitcam.cli",
        "vitcam.recording",
        "vitcam.render",
        "vitcam.types",
        "vitcam.models",
        "vitcam.report",
    ],
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


def test_no_two_classes_have_one_name():
    """Whoever searches for a class finds one. Those of a module alone begin with an underscore."""
    homes: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(file.relative_to(SOURCE)))
    shared = {name: files for name, files in homes.items() if len(files) > 1}
    assert not shared, f"give one of each another name: {shared}"


def test_files_are_short():
    long = {
        str(file.relative_to(SOURCE)): n for file in FILES if (n := len(file.read_text().splitlines())) > 350
    }
    assert not long, f"one idea per file; these have grown beyond that: {long}"


def test_no_pass_of_a_users_model_is_in_inference_mode():
    """What a model keeps of such a pass no gradient goes through: it could be neither trained nor explained."""
    entered = [
        f"{file.relative_to(SOURCE)}:{number}"
        for file in FILES
        if room_of(file) != "bench"  # which times it, on models of its own
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if "inference_mode()" in line and not line.lstrip().startswith((">>>", "..."))
        if "torch.inference_mode(), so" not in line  # an error's text
    ]
    assert entered == []


def test_no_name_that_is_imported_when_it_is_used_is_a_modules():
    """Else whoever imports the module first takes the name's place."""
    lazy = [file for file in SOURCE.rglob("__init__.py") if "lazy_names(" in file.read_text(encoding="utf-8")]
    assert lazy
    for file in lazy:
        modules = {path.stem for path in file.parent.glob("*.py")} | {
            path.parent.name for path in file.parent.glob("*/__init__.py")
        }
        package = import_module(".".join(("vitcam", *file.parent.relative_to(SOURCE).parts)))
        assert not modules & set(package.__all__), package
