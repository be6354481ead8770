"""From what a visitor asks to maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from PIL import Image

from vitcam.app.model_cache import ModelCache
from vitcam.app.policy import MAX_CLASSES, Policy
from vitcam.app.prepared import Prepared
from vitcam.app.queue import Ticket
from vitcam.app.ranking import Case, Ranking, classifier, rank
from vitcam.errors import MethodError, TargetError
from vitcam.explaining import Explanation, compare
from vitcam.methods import find_method
from vitcam.recording import Need

if TYPE_CHECKING:
    from vitcam.models import LoadedModel

FORWARD_ONLY = Need.MAPS | Need.SKIP_GRADIENT


@dataclass(frozen=True)
class Question:
    """What a visitor asks.

    Attributes:
        case: the file and the model. Its prompts are the lines of the text box, whatever the model.
        methods: their canonical names.
        ticked: indices of classes; () for the predicted one.
    """

    case: Case
    methods: tuple[str, ...]
    ticked: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Answer:
    """The maps of one file by one model, as far as they are finished.

    Attributes:
        case: of what; its prompts are () if the model has classes of its own.
        ranking: the most probable classes.
        methods: those asked for that work on this model, in the order asked for.
        explanations: by the methods' names, in that order, all of the same classes; their photograph is
            reduced.
        problems: by the names of methods that don't work on this model, why.
        wrong_classes: what is wrong with names that were typed beside the classes explained.
        heard: what the model doesn't get of the file, in words.
    """

    case: Case
    ranking: Ranking
    methods: tuple[str, ...]
    explanations: Mapping[str, Explanation]
    problems: Mapping[str, str] = field(default_factory=dict)
    wrong_classes: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()

    @property
    def pending(self) -> int:
        """How many methods are still to come."""
        return len(self.methods) - len(self.explanations)

    @property
    def finished(self) -> Answer:
        """The answer if nothing more comes."""
        return replace(self, methods=tuple(self.explanations))

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


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a model saw first: the file as its input, and the classes."""

    case: Case
    ranking: Ranking
    classes: tuple[int, ...]
    wrong_classes: tuple[str, ...]
    prepared: Prepared


def look(question: Question, cache: ModelCache, policy: Policy, ticket: Ticket) -> Ranking:
    """The most probable classes of a file.

    Raises:
        VitcamError: the file can't be read, the model can't be loaded, or it has no classes.
    """
    case = question.case
    with cache.model(policy.checked_model(case.spec), ticket) as loaded:
        ticket.tell("Looking")
        return rank(loaded, _own(loaded, case), case.file.prepared(loaded, policy))


def answer(question: Question, cache: ModelCache, policy: Policy, ticket: Ticket) -> Iterator[Answer]:
    """The maps that a visitor asks for: the answer grows by the methods that share a pass of the model.

    Between them others have their turn, and nothing of the model is kept.

    Raises:
        VitcamError: anything about the question is wrong; the message says what. Methods that don't work on the
            model are only a problem of the answer, unless none does.
        Stopped: the task was told to end.
    """
    methods = policy.checked_methods(question.methods)
    seen: _Seen | None = None
    explanations: dict[str, Explanation] = {}
    problems: dict[str, str] = {}
    for names in in_turns(methods):
        seen, found, wrong = _turn(question, seen, names, cache, policy, ticket)
        explanations |= found
        problems |= wrong
        if explanations:
            yield Answer(
                seen.case,
                seen.ranking,
                tuple(name for name in methods if name not in problems),
                {name: explanations[name] for name in methods if name in explanations},
                dict(problems),
                seen.wrong_classes,
                seen.prepared.heard,
            )
    if not explanations:
        raise MethodError("\n".join(dict.fromkeys(problems.values())))


def in_turns(methods: Sequence[str]) -> list[list[str]]:
    """The methods in groups that share a pass of the model, the quickest first.

    Example:
        >>> in_turns(["lrp", "gae", "agcam", "rollout"])
        [['agcam', 'rollout'], ['gae'], ['lrp']]
    """
    forward: list[str] = []
    backward: dict[Need, list[str]] = {}
    alone = []
    for name in methods:
        method, options = find_method(name)
        need = method.needs(options)
        features = None if method.features is None else method.features(options)
        if features is not None and features.gradient:
            backward.setdefault(need | Need.BLOCK_NORM, []).append(name)
        elif need is Need.NOTHING:  # it makes passes of its own
            alone.append([name])
        elif need in FORWARD_ONLY:
            forward.append(name)
        else:
            backward.setdefault(need, []).append(name)
    return [group for group in (forward, *backward.values(), *alone) if group]


def _turn(
    question: Question,
    seen: _Seen | None,
    names: Sequence[str],
    cache: ModelCache,
    policy: Policy,
    ticket: Ticket,
) -> tuple[_Seen, dict[str, Explanation], dict[str, str]]:
    """What the methods found, and what was wrong with them."""
    with cache.model(policy.checked_model(question.case.spec), ticket) as loaded:
        if seen is None:
            ticket.tell("Looking")
            seen = _see(loaded, question, policy)
        ticket.tell(f"Explaining by {', '.join(names)}")
        found, problems = _explained(classifier(loaded, seen.case.prompts), seen, names)
    return seen, {name: _slim(one, seen.prepared.picture) for name, one in found.items()}, problems


def _see(loaded: LoadedModel, question: Question, policy: Policy) -> _Seen:
    found = question.case.file.prepared(loaded, policy)
    own = _own(loaded, question.case)
    ranking = rank(loaded, own, found)
    typed, wrong = ([], []) if loaded.promptable else _named_classes(loaded, question.case.prompts)
    asked = (*question.ticked, *typed)
    if wrong and not asked:
        raise TargetError("\n".join(wrong))
    classes = _chosen(asked, ranking)
    return _Seen(own, ranking, classes, tuple(wrong), found)


def _named_classes(loaded: LoadedModel, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """The indices of the classes that there are, and what is wrong with the others' names."""
    classes, wrong = [], []
    for name in names:
        try:
            classes.append(loaded.class_index(name))
        except TargetError as error:
            wrong.append(str(error))
    return classes, wrong


def _explained(
    named: LoadedModel, seen: _Seen, names: Sequence[str]
) -> tuple[dict[str, Explanation], dict[str, str]]:
    """Together; one by one if one of them doesn't work on this model."""
    try:
        return compare(*seen.prepared.given(named), names, [list(seen.classes)]), {}
    except MethodError as error:
        if len(names) == 1:
            return {}, {names[0]: str(error)}
    found: dict[str, Explanation] = {}
    problems: dict[str, str] = {}
    for name in names:
        one, wrong = _explained(named, seen, [name])
        found |= one
        problems |= wrong
    return found, problems


def _own(loaded: LoadedModel, case: Case) -> Case:
    """The case, without texts if they aren't this model's classes."""
    return case if loaded.promptable else replace(case, prompts=())


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
