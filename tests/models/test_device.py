import pytest
import torch

import vitcam
from vitcam.errors import ModelError
from vitcam.models import device
from vitcam.models.device import find_device, on_device


def test_auto_is_a_device_of_this_machine():
    torch.ones(1, device=find_device("auto"))


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_unknown_device_is_an_error(name):
    with pytest.raises(ModelError, match=rf"can't run on device '{name}': .+Use 'cpu', or 'auto'"):
        find_device(name)
    with pytest.raises(ModelError, match="can't run on device"):
        vitcam.load_model("embedded:photo", device=name)


def test_model_is_moved_and_moved_back(monkeypatch):
    model = torch.nn.Linear(2, 2)
    # "meta", which is refused else, is the one device besides the CPU that every machine has.
    monkeypatch.setattr(device, "find_device", torch.device)

    def explain():
        with on_device(model, "meta") as where:
            assert where.type == model.weight.device.type == "meta"
            model.to_empty(device="cpu")  # nothing can come back from "meta"; the way home is what is tested
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        explain()
    assert model.weight.device.type == "cpu"
