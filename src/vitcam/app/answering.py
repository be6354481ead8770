"""From what a visitor asks to maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from vitcam.app.photograph import reduced
from vitcam.app.policy import MAX_CLASSES, Policy
from vitcam.app.ranking import Ranking, Subject, classifier, rank
from vitcam.app.shelf import ModelShelf
from vitcam.decomposing import Decomposition, decompose
from vitcam.errors import TargetError
from vitcam.explaining import compare
from vitcam.explanation import Explanation

if TYPE_CHECKING:
    from vitcam.models import LoadedModel

Tell = Callable[[float, str], None]
"""Is told how far the work is, 0 to 1, and what is done next."""


@dataclass(frozen=True)
class Question:
    """What a visitor asks.

    Attributes:
        subject: the photograph and the model. Its prompts are the lines of the text box, whatever the model.
        methods: their canonical names.
        ticked: indices of classes; () for the predicted one.
    """

    subject: Subject
    methods: tuple[str, ...]
    ticked: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Answer:
    """The maps of one photograph by one model.

    Attributes:
        subject: of what; its prompts are () if the model has classes of its own.
        ranking: the most probable classes.
        explanations: by the methods' names, all of the same classes; their photograph is reduced.
    """

    subject: Subject
    ranking: Ranking
    explanations: Mapping[str, Explanation]

    @property
    def first(self) -> Explanation:
        """One of the explanations, for what they have in common."""
        return next(iter(self.explanations.values()))

    @property
    def classes(self) -> list[int]:
        """The indices of the classes explained."""
        return [int(index) for index in self.first.targets[0]]

    @property
    def names(self) -> list[str]:
        """The names of the classes explained."""
        return [self.first.label(0, target) for target in range(len(self.classes))]

    @property
    def probabilities(self) -> list[float]:
        """Of the classes explained."""
        return [float(share) for share in self.first.probabilities[0, self.classes]]


def look(question: Question, shelf: ModelShelf, policy: Policy, tell: Tell) -> Ranking:
    """The most probable classes of a photograph.

    Raises:
        VitcamError: the photograph can't be read, the model can't be loaded, or it has no classes.
    """
    subject = question.subject
    picture = subject.photograph.opened(policy.max_megapixels)
    tell(0.1, f"Loading {subject.spec}")
    with shelf.model(policy.checked_model(subject.spec)) as loaded:
        tell(0.7, "Looking")
        return rank(loaded, _own(loaded, subject), picture)


def answer(question: Question, shelf: ModelShelf, policy: Policy, tell: Tell) -> Answer:
    """The maps that a visitor asks for.

    Raises:
        VitcamError: anything about the question is wrong; the message says what.
    """
    subject = question.subject
    methods = policy.checked_methods(question.methods)
    picture = subject.photograph.opened(policy.max_megapixels)
    tell(0.1, f"Loading {subject.spec}")
    with shelf.model(policy.checked_model(subject.spec)) as loaded:
        own = _own(loaded, subject)
        tell(0.3, "Looking")
        ranking = rank(loaded, own, picture)
        named = classifier(loaded, own.prompts)
        more = () if loaded.promptable else map(named.class_index, subject.prompts)
        classes = _chosen((*question.ticked, *more), ranking)
        tell(0.5, f"Explaining by {', '.join(methods)}")
        explanations = compare(named, [picture], methods, [list(classes)])
    small = reduced(next(iter(explanations.values())).photographs[0])
    return Answer(own, ranking, {name: _slim(one, small) for name, one in explanations.items()})


def take_apart(given: Answer, shelf: ModelShelf, policy: Policy, tell: Tell) -> Decomposition:
    """AGCAM by layer and head, of the classes of an answer.

    Raises:
        VitcamError: the photograph is gone, or the model has no such layers and heads.
    """
    subject = given.subject
    picture = subject.photograph.opened(policy.max_megapixels)
    tell(0.1, f"Loading {subject.spec}")
    with shelf.model(policy.checked_model(subject.spec)) as loaded:
        tell(0.5, "Taking the map apart")
        parts = decompose(classifier(loaded, subject.prompts), [picture], [given.classes])
    return replace(parts, maps=parts.maps.cpu(), targets=parts.targets.cpu())


def _own(loaded: LoadedModel, subject: Subject) -> Subject:
    """The subject, without texts if they aren't this model's classes."""
    return subject if loaded.promptable else replace(subject, prompts=())


def _slim(explanation: Explanation, small: Image.Image) -> Explanation:
    """What is kept for a visitor: nothing of it on the GPU, and a small photograph."""
    return replace(
        explanation,
        heatmaps=explanation.heatmaps.cpu(),
        targets=explanation.targets.cpu(),
        logits=None if explanation.logits is None else explanation.logits.cpu(),
        photographs=[small],
    )


def _chosen(asked: Sequence[int], ranking: Ranking) -> tuple[int, ...]:
    classes = tuple(dict.fromkeys(asked)) or ranking.first_choice
    if len(classes) > MAX_CLASSES:
        raise TargetError(f"At most {MAX_CLASSES} classes fit below each other; {len(classes)} are chosen.")
    return classes
