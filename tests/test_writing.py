"""Files that are there whole, and what isn't a file."""

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vitcam.errors import ExportError, VitcamError
from vitcam.writing import check_place, write_whole


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"content")
    reader.join()
    assert got == [b"content"]
    assert pipe.is_fifo()


def test_standard_output_and_error_are_written_to_and_stay(tmp_path):
    code = f"""
from pathlib import Path
from vitcam.writing import write_whole
for name in ("out", "err"):
    (link := Path({str(tmp_path)!r}, name)).symlink_to(f"/dev/std{{name}}")
    write_whole(link, b"to std" + name.encode())
    assert link.is_symlink()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"to stdout", b"to stderr")


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    file, link = tmp_path / "elsewhere" / "table.csv", tmp_path / "link.csv"
    file.write_bytes(b"before")
    link.symlink_to(file)
    write_whole(link, b"after")
    assert link.is_symlink()
    assert file.read_bytes() == b"after"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "link.csv", "table.csv"]


def test_a_link_to_nowhere_gets_its_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_folder_or_a_full_device_is_an_error_that_says_so(tmp_path):
    with pytest.raises(VitcamError, match=rf"can't write {tmp_path}: Is a directory"):
        write_whole(tmp_path, b"")
    with pytest.raises(VitcamError, match="can't write /dev/full: No space left on device"):
        write_whole(Path("/dev/full"), b"content")


def test_a_pipe_that_nobody_reads_any_more_is_no_error_of_vitcams():
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        write_whole(Path(f"/dev/fd/{write}"), b"content")
    os.close(write)


def test_file_systems_that_cannot_sync_folders_do(tmp_path, monkeypatch):
    sync = os.fsync

    def files_only(descriptor):
        if os.fstat(descriptor).st_mode & 0o040000:
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_whole(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_places_are_checked_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "new" / "folders" / "file", Path("/dev/null")):
        check_place(place, ExportError)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]  # nothing is made by looking
    for place, problem in (
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "below" / "it", f"{tmp_path / 'file'} is a file, not a folder"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(ExportError, match=re.escape(f"can't write {place}: {problem}")):
            check_place(place, ExportError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_into_is_told_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ExportError, match="can't be written into"):
        check_place(tmp_path / "new" / "file", ExportError)
