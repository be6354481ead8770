"""The run-time type check of vitcam's annotations: a whole number may stand for a float, as for mypy."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
