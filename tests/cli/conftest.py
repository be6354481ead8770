"""The command line, run in this process; and the shipped photographs."""

from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner


@pytest.fixture(scope="session")
def photos():
    """The folder of the shipped photographs: astronaut, cat, cat_and_cup, cup."""
    return Path(str(files("vitcam") / "photos"))


@pytest.fixture(scope="session")
def model():
    """The embedded model."""
    from vitcam.models import load_model

    return load_model("embedded:photo")


@pytest.fixture(scope="session")
def vitcam(model):
    """Runs the command line with these arguments; gives ``exit_code``, ``stdout`` and ``stderr``."""
    from vitcam.cli.explaining import run as where
    from vitcam.cli.program import program

    load = where.load_model

    def loaded_once(spec, device):  # loading takes longer than explaining
        return model if spec == model.spec and device is None else load(spec, device=device)

    def run(*arguments):
        return CliRunner().invoke(program, [str(argument) for argument in arguments], prog_name="vitcam")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, "load_model", loaded_once)
        yield run
