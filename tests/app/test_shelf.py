import threading

import pytest
from visitors import work

from vitcam.app.shelf import ModelShelf
from vitcam.errors import ModelError


def use(shelf, *specs):
    for spec in specs:
        with shelf.model(spec, work()) as model:
            assert model == spec.upper()


def test_keeps_what_was_used_last():
    loaded = []
    shelf = ModelShelf(lambda spec: loaded.append(spec) or spec.upper(), room=2)
    use(shelf, "a", "b", "a", "c")
    assert shelf.specs == ["a", "c"]
    use(shelf, "a", "b")
    assert shelf.specs == ["a", "b"]
    assert loaded == ["a", "b", "c", "b"]


def test_makes_room_before_it_loads():
    shelf = ModelShelf(lambda spec: (there.append(len(shelf.specs)), spec.upper())[1], room=1)
    there = []
    use(shelf, "a", "b", "c")
    assert there == [0, 0, 0]


def test_forgets_failures():
    def load(spec):
        attempts.append(spec)
        if len(attempts) == 1:
            raise ModelError("the network is down")
        return spec.upper()

    attempts = []
    shelf = ModelShelf(load, room=2)
    with pytest.raises(ModelError, match=r"network"):
        use(shelf, "a")
    use(shelf, "a")
    assert attempts == ["a", "a"]


def test_one_visitor_at_a_time():
    loads, inside, most = [], [], []
    shelf = ModelShelf(lambda spec: loads.append(spec) or spec.upper(), room=2)
    barrier = threading.Barrier(4)

    def visit(spec):
        barrier.wait()
        with shelf.model(spec, work(str(spec))):
            inside.append(spec)
            most.append(len(inside))
            inside.remove(spec)

    threads = [threading.Thread(target=visit, args=(spec,)) for spec in "aabb"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(loads) == ["a", "b"]
    assert max(most) == 1
