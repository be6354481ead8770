import threading

import pytest
from visitors import ticket

from vitcam.app.model_cache import ModelCache
from vitcam.errors import ModelError


def use(cache, *specs):
    for spec in specs:
        with cache.model(spec, ticket()) as model:
            assert model == spec.upper()


def test_keeps_what_was_used_last():
    loaded = []
    cache = ModelCache(lambda spec: loaded.append(spec) or spec.upper(), room=2)
    use(cache, "a", "b", "a", "c")
    assert cache.specs == ["a", "c"]
    use(cache, "a", "b")
    assert cache.specs == ["a", "b"]
    assert loaded == ["a", "b", "c", "b"]


def test_makes_room_before_it_loads():
    cache = ModelCache(lambda spec: (there.append(len(cache.specs)), spec.upper())[1], room=1)
    there = []
    use(cache, "a", "b", "c")
    assert there == [0, 0, 0]


def test_forgets_failures():
    def load(spec):
        attempts.append(spec)
        if len(attempts) == 1:
            raise ModelError("the network is down")
        return spec.upper()

    attempts = []
    cache = ModelCache(load, room=2)
    with pytest.raises(ModelError, match=r"network"):
        use(cache, "a")
    use(cache, "a")
    assert attempts == ["a", "a"]


def test_one_visitor_at_a_time():
    loads, inside, most = [], [], []
    cache = ModelCache(lambda spec: loads.append(spec) or spec.upper(), room=2)
    barrier = threading.Barrier(4)

    def visit(spec):
        barrier.wait()
        with cache.model(spec, ticket(str(spec))):
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
