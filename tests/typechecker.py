"""The run-time type check of vitcam's annotations: a whole number may stand for a float, as for mypy."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(checked: Any) -> Any:
    """The check, made when what it checks is called for the first time: most of it never is in one process."""
    if isinstance(checked, type):
        return _check(checked)
    made: list[Callable[..., Any]] = []

    @wraps(checked)
    def checking(*args: Any, **kwargs: Any) -> Any:
        if not made:
            made.append(_check(checked))
        return made[0](*args, **kwargs)

    return checking
