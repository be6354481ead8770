"""Traced code runs without the check of annotations: a batch of open size is no whole number."""

import jaxtyping
import pytest

from vitcam.export import exporting


@pytest.fixture(autouse=True, scope="session")
def _trace_unchecked():
    def trace(*args):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
            return traced(*args)

    traced = exporting.trace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "trace", trace)
        yield
