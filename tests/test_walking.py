"""Folders are gone through once, and come to an end, whatever links lead to."""

import os
import socket
import sys
from pathlib import Path

import pytest

from vitcam.walking import kind_of_no_file, matches, walk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are made the way of Unix")


def tree(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def walked(root):
    return [(path / name).relative_to(root).as_posix() for path, names in walk(root) for name in names]


def test_folders_in_order_without_what_is_hidden(tmp_path):
    tree(tmp_path, "z", "b/2", "b/1", "a/c/3", "a/0", ".hidden", ".cache/4", "a/.git/5")
    assert walked(tmp_path) == ["z", "a/0", "a/c/3", "b/1", "b/2"]


def test_a_hidden_folder_or_a_link_can_be_walked_itself(tmp_path):
    tree(tmp_path, ".cache/one")
    (tmp_path / "link").symlink_to(".cache")
    assert walked(tmp_path / ".cache") == walked(tmp_path / "link") == ["one"]


@pytest.mark.parametrize("target", ["..", ".", "../..", "/", "../a", "../b"])
def test_loops_add_nothing(tmp_path, target):
    root = tree(tmp_path / "root", "a/1", "b/2")
    tree(tmp_path, "outside")
    (root / "a" / "loop").symlink_to(target)
    assert walked(root) == ["a/1", "b/2"]


def test_two_loops_and_chains_of_links_end(tmp_path):
    for level in range(40):  # by way of its links, the last one could be reached in 2 to the 40th ways
        folder = tree(tmp_path, f"{level:02}/file") / f"{level:02}"
        for name in ("left", "right", "up"):
            (folder / name).symlink_to(".." if name == "up" else f"../{(level + 1) % 40:02}")
    assert walked(tmp_path) == [f"{level:02}/file" for level in range(40)]
    assert len(set(matches(str(tmp_path / "**" / "file")))) == 40


def test_links_to_folders_elsewhere_are_followed_once(tmp_path):
    tree(tmp_path, "elsewhere/1", "root/2")
    for name in ("one", "two"):
        (tmp_path / "root" / name).symlink_to("../elsewhere")
    assert walked(tmp_path / "root") == ["2", "one/1"]


def test_a_link_does_not_take_the_place_of_the_folder(tmp_path):
    tree(tmp_path, "train/1")
    (tmp_path / "all").symlink_to("train")
    assert walked(tmp_path) == ["train/1"]


def test_a_link_to_itself_is_no_folder(tmp_path):
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("gone.jpg")
    assert walked(tmp_path) == ["nowhere.jpg", "self.jpg"]


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    tree(tmp_path, "private/1", "public/2")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "private":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        list(walk(tmp_path))
    refused = []
    assert [path.name for path, names in walk(tmp_path, refused.append) if names] == ["public"]
    assert [error.filename for error in refused] == [str(tmp_path / "private")]


def test_patterns(tmp_path, monkeypatch):
    tree(tmp_path, "b.jpg", "a.png", "sub/c.jpg", "sub/deep/d.jpg", ".hidden.jpg", ".cache/e.jpg")
    monkeypatch.chdir(tmp_path)

    def found(pattern):
        return sorted({path.as_posix() for path in matches(pattern) if path.is_file()})

    assert found("*.jpg") == ["b.jpg"]
    assert found("**/*.jpg") == ["b.jpg", "sub/c.jpg", "sub/deep/d.jpg"]
    assert found("**") == found("**/*") == ["a.png", "b.jpg", "sub/c.jpg", "sub/deep/d.jpg"]
    assert found("**/**/deep/*") == ["sub/deep/d.jpg"]
    assert found("s?b/[a-c].jpg") == ["sub/c.jpg"]
    assert found(".c*/*") == [".cache/e.jpg"]
    assert found("sub/../*.png") == ["sub/../a.png"]
    assert found(f"{tmp_path}/*/c.jpg") == [f"{tmp_path}/sub/c.jpg"]
    assert found("b.jpg/*") == found("gone/*") == []


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("pipe")
    kinds = {name: kind_of_no_file(tmp_path / name) for name in ("pipe", "link", "socket", "file", ".")}
    expected = {"pipe": "named pipe", "link": "named pipe", "socket": "socket", "file": None, ".": "folder"}
    assert kinds == expected
    assert kind_of_no_file(Path("/dev/zero")) == "device"
