import sys

import pytest

from kennel.errors import ContractError, UserError
from kennel.serving.engine_choice import ENGINES, choose_engine
from kennel.serving.settings import read_settings


def remove(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Makes packages ones that are not installed, as far as an import can tell."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def test_torch_is_chosen_where_it_is_installed() -> None:
    assert choose_engine({}) == "torch"
    assert choose_engine({"KENNEL_ENGINE": " "}) == "torch"


@pytest.mark.parametrize("package", ["torch", "torchvision"])
def test_onnx_runtime_is_chosen_where_torch_is_not_whole(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    remove(monkeypatch, package)
    assert choose_engine({}) == "onnxruntime"


@pytest.mark.parametrize("name", ENGINES)
def test_the_environment_chooses(name: str) -> None:
    assert choose_engine({"KENNEL_ENGINE": name}) == name
    assert read_settings({"KENNEL_ENGINE": name}).engine == name


def test_another_name_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(UserError, match="KENNEL_ENGINE is 'openvino'. Expected torch or onnxruntime"):
        read_settings({"KENNEL_ENGINE": "openvino"})


def test_an_engine_that_is_asked_for_and_absent_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    remove(monkeypatch, "torch", "torchvision")
    with pytest.raises(UserError, match=r"torch and torchvision is not installed here. Install it .*kennel\[torch\]"):
        choose_engine({"KENNEL_ENGINE": "torch"})
    remove(monkeypatch, "onnx")
    with pytest.raises(UserError, match=r"but onnx is not installed here. Install it \(pip install 'kennel\[onnx\]'\)"):
        choose_engine({"KENNEL_ENGINE": "onnxruntime"})


def test_a_machine_without_any_engine_is_told_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    remove(monkeypatch, "torch", "onnxruntime")
    with pytest.raises(ContractError, match=r"Install torch \(pip install 'kennel\[torch\]'\) or ONNX Runtime"):
        choose_engine({})
