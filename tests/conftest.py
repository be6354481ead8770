"""Tests run offline, and with vitcam's shape annotations checked at run time.

``VITCAM_TEST_MKLDNN=off`` runs them without oneDNN, as on processors that it isn't built for (`make test-isa`).
"""

import os

import pytest
import torch
from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"
if os.environ.get("VITCAM_TEST_MKLDNN") == "off":  # as on processors on which torch doesn't use oneDNN
    torch.backends.mkldnn.enabled = False
torch.set_num_threads(1)  # also for fixtures of modules, which are made before those of tests
install_import_hook("vitcam", "typechecker.check")
if os.environ.get("VITCAM_TEST_MKLDNN") == "off":
    torch.backends.mkldnn.enabled = False


@pytest.fixture(autouse=True)
def _deterministic():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads cost more than they give on models this small
