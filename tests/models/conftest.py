from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread(_deterministic: None) -> None:
    """On small tensors a second thread is mostly waited for: tests that run beside others take ten times as long."""
    torch.set_num_threads(1)
