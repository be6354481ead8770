"""The models that are in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vitcam.app.queue import Queue, Stoppable, Ticket
from vitcam.models import LoadedModel


class ModelCache:
    """Keeps the models that were used last, and lets one visitor at a time use them.

    Args:
        load: from a specification to a model.
        room: how many models are kept. The one that was used longest ago makes room before the next is
            loaded, so that there are never more.

    Example:
        >>> cache = ModelCache(vitcam.load_model, room=2)
        >>> with cache.model("embedded:photo", Ticket("a visitor")) as model:
        ...     vitcam.explain(model, photo).label()
        Loading embedded:photo
        'cat'
    """

    def __init__(self, load: Callable[[str], LoadedModel], room: int) -> None:
        self._load = load
        self._room = room
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._queue = Queue()

    @contextmanager
    def model(self, spec: str, ticket: Ticket) -> Iterator[LoadedModel]:
        """The model, loaded if it isn't in memory; inside the ``with``, nobody else computes.

        One at a time, because a model that runs already uses every core, and so that no more memory is needed
        than one explanation takes. Whoever keeps the model afterwards keeps its memory.

        Raises:
            VitcamError: it can't be loaded. What failed isn't kept: the next attempt loads again.
            Stopped: the task was told to end.
        """
        with self._queue.turn(ticket), Stoppable(ticket.stop):
            if spec not in self._models:
                ticket.tell(f"Loading {spec}")
                while len(self._models) >= self._room:
                    self._models.popitem(last=False)
                self._models[spec] = self._load(spec)
            self._models.move_to_end(spec)
            yield self._models[spec]

    @property
    def specs(self) -> list[str]:
        """What is in memory, the one used last at the end."""
        return list(self._models)
