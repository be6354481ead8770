"""What can be added, and what is said of what can't."""

from __future__ import annotations

import sys

import pytest

from vitcam.errors import MethodError
from vitcam.registry import Registry, is_reference


def fit(name, given):
    if not isinstance(given, int):
        raise MethodError(f"{name} is no number")
    return given


def registry(group="vitcam.tests"):
    return Registry("thing", group, {"one": 1, "lib:two": 2}, fit, MethodError)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages; ``install(NAME, TEXT, **ENTRIES)`` writes one with entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def install(name, text, **entries):
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        lines = [f"{key} = {value}" for key, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[vitcam.tests]", *lines, ""]))

    yield install
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_it_is_a_dictionary():
    things = registry()
    assert list(things) == ["one", "lib:two"]
    things["three"] = 3
    assert (len(things), things["three"], "four" in things) == (3, 3, False)
    del things["three"]
    with pytest.raises(KeyError):
        things["three"]
    with pytest.raises(MethodError, match="five is no number"):
        things["five"] = "5"
    assert things.is_ours(things["one"])
    assert not things.is_ours(7)


def test_installed_packages_add_entries(site):
    site("vt_good", "THREE = 3\n", three="vt_good:THREE")
    things = registry()
    assert things.find("three") == things["three"] == 3
    assert list(things) == ["one", "lib:two", "three"]
    assert things.ours == ("one", "lib:two")
    del things["three"]
    assert "three" not in things  # what was taken out stays out


def test_a_name_of_ours_loads_no_package(site):
    site("vt_loud", "raise RuntimeError('imported')\n", loud="vt_loud:X")
    assert registry().find("one") == 1


@pytest.mark.parametrize(
    ("text", "entry", "why"),
    [
        ("import vt_nothing\n", {"bad": "vt_bad:X"}, "ModuleNotFoundError: No module named 'vt_nothing'"),
        ("raise ValueError('so it is')\n", {"bad": "vt_bad:X"}, "ValueError: so it is"),
        ("", {"bad": "vt_bad:X"}, "AttributeError: .*'vt_bad' has no attribute 'X'"),
        ("raise SystemExit(3)\n", {"bad": "vt_bad:X"}, "SystemExit: 3"),
        ("X = 'text'\n", {"bad": "vt_bad:X"}, "bad is no number"),
        ("X = 7\n", {"one": "vt_bad:X"}, "vitcam has one of that name"),
    ],
)
def test_a_broken_package_is_named_and_left_out(site, text, entry, why):
    site("vt_bad", text, **entry)
    site("vt_fine", "FOUR = 4\n", four="vt_fine:FOUR")
    things = registry()
    ((name, value),) = entry.items()
    problem = rf"the thing '{name}' of the package vt_bad \({value}\) can't be used: {why}"
    with pytest.warns(UserWarning, match=f"{problem}. It is left out"):
        assert set(things) == {"one", "lib:two", "four"}
    assert things["one"] == 1
    if name == "bad":
        with pytest.raises(MethodError, match=problem):
            things.find("bad")


def test_a_reference_is_imported_and_known_from_then_on(site):
    site("vt_mine", "class Inner:\n    FIVE = 5\nTEXT = ''\n")
    things = registry()
    assert things.find("vt_mine:Inner.FIVE") == 5
    assert "vt_mine:Inner.FIVE" in list(things)
    for name, problem in (
        ("vt_mine:SIX", "the module vt_mine has no SIX, which vt_mine:SIX should be"),
        ("vt_mine:TEXT", "vt_mine:TEXT is no number"),
        (
            "vt_absent.inner:X",
            "there is no module 'vt_absent' for the thing vt_absent.inner:X: it must be installed",
        ),
        ("lib:three", "there is no thing 'lib:three'. Did you mean 'lib:two'"),
        ("on", "there is no thing 'on'. Did you mean 'one'? The things are one, lib:two"),
    ):
        with pytest.raises(MethodError) as error:
            things.find(name)
        assert problem in str(error.value)


def test_a_reference_that_fails_names_itself(site):
    site("vt_failing", "1 / 0\n")
    site("vt_needing", "import vt_absent\n")
    with pytest.raises(MethodError, match="the thing vt_failing:X can't be imported: ZeroDivisionError"):
        registry().find("vt_failing:X")
    with pytest.raises(
        MethodError, match=r"vt_needing:X can't be imported: ModuleNotFoundError: .*'vt_absent'"
    ):
        registry().find("vt_needing:X")


def test_a_reference_may_lie_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "vt_here.py").write_text("SIX = 6\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", str(tmp_path))])
    assert registry().find("vt_here:SIX") == 6
    del sys.modules["vt_here"]


@pytest.mark.parametrize("name", ["a:b", "a.b:c.d", "_a:_b1"])
def test_references(name):
    assert is_reference(name)


@pytest.mark.parametrize("name", ["a", "a:", ":b", "a:b:c", "a-b:c", "a:/b", "a:b(c=1)", "1a:b", "a..b:c"])
def test_no_references(name):
    assert not is_reference(name)


def test_a_family_makes_entries_of_names():
    made = []

    def make(behind):
        made.append(behind)
        return len(behind)

    things = Registry("thing", "vitcam.tests", {"one": 1}, fit, MethodError, {"long": make})
    assert [things.can_find(name) for name in ("long:abc(x=1)", "one", "a.b:c", "long", "none")] == [
        *(True, True, True),
        *(False, False),
    ]
    assert things.find("long:abc(x=1)") == things["long:abc(x=1)"] == things.find("long:abc(x=1)") == 8
    assert made == ["abc(x=1)"]
    assert list(things) == ["one", "long:abc(x=1)"]
    with pytest.raises(MethodError, match="there is no thing 'long'"):
        things.find("long")
