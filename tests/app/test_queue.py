"""Work that ends when nobody waits for it."""

import threading

import pytest
import timm
import torch
from visitors import EMBEDDED, clip

import vitcam
from vitcam.app.queue import Queue, Stop, Stoppable, Stopped, Ticket, relayed
from vitcam.methods import METHODS
from vitcam.photos import photo_path

SECONDS = 60


def test_steps_and_what_is_told_come_in_order():
    def steps(tell):
        tell("first")
        yield 1
        tell("second")
        yield 2

    assert list(relayed(steps)) == ["first", 1, "second", 2]


def test_what_is_raised_is_raised_where_it_is_waited_for():
    def steps(tell):
        yield 1
        raise Stopped

    got = []
    with pytest.raises(Stopped):
        got.extend(relayed(steps))
    with pytest.raises(ValueError, match="no"):
        list(relayed(lambda tell: (_ for _ in ()).throw(ValueError("no"))))


def test_whoever_looks_away_holds_nobody_up():
    queue, entered = Queue(), threading.Event()

    def steps(tell):
        with queue.turn(Ticket("me")):
            yield 1
            yield 2

    abandoned = relayed(steps)
    assert next(abandoned) == 1
    with queue.turn(Ticket("another")):  # although the steps were in the midst of their turn
        entered.set()
    assert entered.is_set()


class CountedStop(Stop):
    """Tells to end after some checks."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def check(self):
        self.left -= 1
        if self.left <= 0:
            self.tell()
        super().check()


def again_and_again(model, name):
    """Some methods are done in a few operations."""
    while True:
        vitcam.explain(model.module, torch.zeros(1, 3, *model.preprocessing.size), name, targets=[[0, 1]])


# Of the methods that read a feature map two stand for all: one of a pass that others share, one of passes of its own.
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, method in METHODS.items()
        if name in ("gradcam", "ablationcam")
        or (method.features is None and name not in ("random", "center"))
    ],
)
@pytest.mark.parametrize("after", [1, 40, 150])
def test_every_method_ends_in_its_midst_and_leaves_the_model_as_it_was(name, after):
    if name.startswith("captum"):
        pytest.importorskip("captum", reason="its methods need captum")
    model = clip().with_prompts(["a", "b"]) if after == 40 else EMBEDDED
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    wanted = [one.requires_grad for one in model.module.parameters()]
    with pytest.raises(Stopped), Stoppable(CountedStop(after)):
        again_and_again(model, name)
    assert [one.requires_grad for one in model.module.parameters()] == wanted
    assert all(value.equal(before[key]) for key, value in model.module.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.module.modules())


@pytest.mark.parametrize("name", ["agcam", "gae", "gradcam", "lrp", "rollout"])
def test_maps_are_the_same_where_they_can_be_stopped(name):
    path = photo_path("cat_and_cup")
    expected = vitcam.explain(EMBEDDED, path, name, targets=[[1, 42]])
    with Stoppable(Stop()):
        found = vitcam.explain(EMBEDDED, path, name, targets=[[1, 42]])
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    torch.testing.assert_close(found.logits, expected.logits)


def test_loading_can_be_stopped():
    with pytest.raises(Stopped), Stoppable(CountedStop(30)):
        timm.create_model("vit_tiny_patch16_224", pretrained=False)


def waiting(queue, owner, entered, may_leave, told):
    """A visitor in the queue, in a thread of their own."""

    def visit():
        try:
            with queue.turn(Ticket(owner, tell, stop)):
                entered.append(owner)
                assert may_leave.wait(SECONDS)
        except Stopped:
            entered.append(f"{owner} left")

    def tell(text):
        told.append((owner, text))
        heard.set()

    heard, stop = threading.Event(), Stop()
    thread = threading.Thread(target=visit)
    thread.start()
    return thread, stop, heard


def test_turns_are_in_the_order_of_arrival_and_everybody_hears_their_place():
    queue, entered, told, may_leave = Queue(), [], [], threading.Event()
    with queue.turn(Ticket("first")):
        threads = []
        for owner in ("second", "third", "first"):
            thread, stop, heard = waiting(queue, owner, entered, may_leave, told)
            assert heard.wait(SECONDS)
            threads.append((thread, stop))
        assert told == [
            ("second", "Waiting for 1 other visitor"),
            ("third", "Waiting for 2 other visitors"),
            ("first", "Waiting for 2 other visitors"),
        ]
        threads[1][1].tell()  # the third gives up
        threads[1][0].join(SECONDS)
        assert entered == ["third left"]
    may_leave.set()
    for thread, _ in threads:
        thread.join(SECONDS)
    assert entered == ["third left", "second", "first"]


def test_whoever_waits_for_themselves_is_told_so():
    queue, entered, told, may_leave = Queue(), [], [], threading.Event()
    with queue.turn(Ticket("me")):
        thread, stop, heard = waiting(queue, "me", entered, may_leave, told)
        assert heard.wait(SECONDS)
        stop.tell()
        thread.join(SECONDS)
    assert told == [("me", "Waiting for what you asked before")]
