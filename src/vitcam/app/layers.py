"""AGCAM's map taken apart into layers and heads, and which of them are switched on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from vitcam.app.answers import Answer
from vitcam.app.model_cache import ModelCache
from vitcam.app.policy import Policy
from vitcam.app.queue import Ticket
from vitcam.app.ranking import classifier
from vitcam.explaining import Decomposition, decompose


@dataclass(frozen=True, eq=False)
class Heads:
    """The layers and heads of one class's map.

    Attributes:
        target: which of the classes explained.
        shares: of each head in the map; 1 in total.
        on: which heads take part.
    """

    target: int
    shares: Float[np.ndarray, "layers heads"]
    on: Bool[np.ndarray, "layers heads"]

    @property
    def share(self) -> float:
        """What those that are switched on make up."""
        return float(self.shares[self.on].sum())

    @property
    def all_on(self) -> Bool[np.ndarray, "layers heads"]:
        """Everything switched on."""
        return np.ones_like(self.on)

    def switched(self, sent: Any) -> Heads:
        """With the switches as a browser sent them; as they are if that can't be read."""
        on = sent.get("on") if isinstance(sent, dict) else None
        rows = on if isinstance(on, list) else []
        if len(rows) != len(self.on) or any(
            not isinstance(row, list) or len(row) != self.on.shape[1] for row in rows
        ):
            return self
        return replace(self, on=np.array([[value is True for value in row] for row in rows], dtype=np.bool_))

    def value(self) -> dict[str, Any]:
        """For the browser."""
        return {"shares": self.shares.round(6).tolist(), "on": self.on.tolist()}


def heads_of(parts: Decomposition, target: int) -> Heads:
    """All heads of one class's map, switched on."""
    shares = parts.shares[0, target].cpu().numpy()
    return Heads(target, shares, np.ones(shares.shape, dtype=np.bool_))


def take_apart(given: Answer, cache: ModelCache, policy: Policy, ticket: Ticket) -> Decomposition:
    """AGCAM by layer and head, of the classes of an answer.

    Raises:
        VitcamError: the photograph is gone, or the model has no such layers and heads.
    """
    case = given.case
    with cache.model(policy.checked_model(case.spec), ticket) as loaded:
        ticket.tell("Taking the map apart")
        found = case.file.prepared(loaded, policy)
        parts = decompose(*found.given(classifier(loaded, case.prompts)), [given.classes])
    return replace(parts, maps=parts.maps.cpu(), targets=parts.targets.cpu())
