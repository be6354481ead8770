import os

from vitcam.app import uploads as module
from vitcam.app.uploads import LEAST, Uploads


class Visitors:
    """Uploads into a folder, one second apart."""

    def __init__(self, folder, **quotas):
        self.folder, self.uploads, self.time = folder, Uploads(folder, **quotas), 0

    def upload(self, visitor, name, size=100_000):
        arrival = self.uploads.begin(visitor, size)
        if arrival is None:
            return None
        path = self.folder / name / "a.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        self.touch(path)
        self.uploads.end(arrival, [path])
        return path

    def touch(self, path):
        self.time += 1
        os.utime(path, (self.time, self.time))

    def kept(self):
        return sorted(path.parent.name for path in self.folder.glob("*/a.jpg"))


def test_the_oldest_of_a_visitor_makes_room(tmp_path):
    one = Visitors(tmp_path, each=300_000, total=10**9)
    for name in "abc":
        one.upload("me", name)
    one.upload("you", "x")
    one.touch(tmp_path / "a" / "a.jpg")  # it was used
    one.upload("me", "d")
    assert one.kept() == ["a", "c", "d", "x"]
    assert not (tmp_path / "b").exists()
    one.upload("me", "e", 250_000)
    assert one.kept() == ["e", "x"]


def test_the_oldest_of_all_makes_room(tmp_path):
    one = Visitors(tmp_path, each=300_000, total=300_000)
    for visitor, name in (("me", "a"), ("you", "b"), ("they", "c"), ("you", "d")):
        one.upload(visitor, name)
    assert one.kept() == ["b", "c", "d"]


def test_what_two_visitors_uploaded_stays_until_neither_keeps_it(tmp_path):
    one = Visitors(tmp_path, each=200_000, total=10**9)
    for visitor in ("me", "you"):
        one.upload(visitor, "both")
    one.upload("me", "a")
    one.upload("me", "b")
    assert one.kept() == ["a", "b", "both"]
    one.upload("you", "c")
    one.upload("you", "d")
    assert one.kept() == ["a", "b", "c", "d"]


def test_whose_it_is_is_known_when_it_is_gone(tmp_path):
    one = Visitors(tmp_path, each=100_000, total=10**9)
    gone = str(one.upload("me", "a"))
    one.upload("me", "b")
    assert one.kept() == ["b"]
    assert one.uploads.of("me", gone)
    assert not one.uploads.of("you", gone)
    assert one.uploads.of_others("you", gone)
    assert not one.uploads.of_others("me", gone)
    assert not one.uploads.of_others("me", "/nobody's")


def test_room_is_kept_for_uploads_under_way(tmp_path):
    one = Visitors(tmp_path, each=300_000, total=300_000)
    first = one.uploads.begin("me", 200_000)
    assert one.uploads.begin("you", 200_000) is None
    assert one.uploads.begin("you", 100_000) is not None
    one.uploads.end(first, [])
    assert one.uploads.begin("you", 200_000) is None  # what broke off may lie there yet
    assert one.uploads.begin("me", 400_000) is None  # more than one may keep


def test_what_broke_off_is_swept_once_nothing_is_under_way(tmp_path):
    one = Visitors(tmp_path, each=300_000, total=300_000)
    first, second = one.uploads.begin("me", 100_000), one.uploads.begin("you", 100_000)
    (tmp_path / "tmpabc").write_bytes(bytes(50_000))
    (tmp_path / "tmpfolder").mkdir()
    one.uploads.end(first, [])
    assert (tmp_path / "tmpabc").exists()  # it may be the other's
    one.uploads.end(second, [])
    assert not (tmp_path / "tmpabc").exists()
    assert (tmp_path / "tmpfolder").exists()  # for downloads
    assert one.uploads.begin("me", 300_000) is not None


def test_many_tiny_ones_are_many(tmp_path):
    one = Visitors(tmp_path, each=10 * LEAST, total=10**9)
    for number in range(25):
        one.upload("me", f"{number:02}", 1)
    assert one.kept() == [f"{number:02}" for number in range(15, 25)]


def test_only_so_many_visitors_and_uploads_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VISITORS", 3)
    monkeypatch.setattr(module, "REMEMBERED", 4)
    one = Visitors(tmp_path, each=10**9, total=10**9)
    paths = [str(one.upload("me", f"{number}")) for number in range(6)]
    assert [one.uploads.of("me", path) for path in paths] == [False, False, True, True, True, True]
    assert one.kept() == ["2", "3", "4", "5"]
    for visitor in ("you", "they", "others"):
        one.upload(visitor, visitor)
    assert one.kept() == ["others", "they", "you"]
    assert not one.uploads.of("me", paths[-1])


def test_what_others_deleted_takes_no_room(tmp_path):
    one = Visitors(tmp_path, each=200_000, total=10**9)
    one.upload("me", "a").unlink()
    one.upload("me", "b")
    one.upload("me", "c")
    assert one.kept() == ["b", "c"]
