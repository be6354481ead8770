"""Which methods' maps stay the same where they should change: what a reader must know before any number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitcam.evaluation.measure import Number, is_control

SAME = 0.99
"""The mean similarity from which on maps are called the same."""


def unmoved_sentences(means: Sequence[tuple[Number, Mapping[str, float]]]) -> list[str]:
    """A sentence for everything that some methods' maps don't depend on although they should.

    Controls aren't named: they depend on nothing by design.

    Args:
        means: of numbers, by method. Where several numbers ask for the same, a method is named if all say so.

    Example:
        >>> number = Number("other_ssim", "SSIM", "With another class.", unmoved="for another class")
        >>> unmoved_sentences([(number, {"agcam": 0.4, "rollout": 1.0, "center": 1.0})])
        ['The maps of rollout stay the same for another class.']
    """
    found: dict[str, list[Mapping[str, float]]] = {}
    for number, by_method in means:
        if number.unmoved:
            found.setdefault(number.unmoved, []).append(by_method)
    sentences = []
    for what, similarities in found.items():
        methods = [name for name in similarities[0] if not is_control(name)]
        same = [name for name in methods if all(each.get(name, SAME) >= SAME for each in similarities)]
        if same:
            named = " and ".join(filter(None, (", ".join(same[:-1]), same[-1])))
            sentences.append(f"The maps of {named} stay the same {what}.")
    return sentences
