"""Compiled forward passes record what ordinary ones do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import compiled_checks
import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def problems():
    """From each check to what is wrong."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, compiled_checks.__file__],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("check", compiled_checks.WITH_CODE)
def test_compiled(check, problems):
    if not compiled_checks.HAS_COMPILER:
        pytest.skip("torch.compile needs a C++ compiler, and this machine has none")
    assert not problems[check], problems[check]


@pytest.mark.parametrize("check", compiled_checks.TRACED)
def test_traced(check, problems):
    assert not problems[check], problems[check]
