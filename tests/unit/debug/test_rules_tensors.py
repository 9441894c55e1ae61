"""AllZero, ExplodingTensor, TensorVariance and UnchangedTensor: vectors, and nets that have just the fault."""

from pathlib import Path

import numpy as np
import pytest
import torch
from real_runs import LOSS, REDUCTIONS, Data, Net, ReluAtTheEnd, Training, findings, fired, write_trial, zero_head
from torch import nn

from kennel.debug.rules import RECOMMENDED, build_rule
from kennel.debug.tensors import Trial

SAVES: tuple[tuple[str, ...], ...] = ((), REDUCTIONS)
NAMES = ("AllZero", "ExplodingTensor", "TensorVariance", "UnchangedTensor")


@pytest.fixture(scope="module", params=SAVES, ids=["raw", "reductions"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Training(reductions=request.param, epochs=2).run(tmp_path_factory.mktemp("sound") / "out")


# --- UnchangedTensor ---


@pytest.fixture
def ones(tmp_path: Path) -> Trial:
    """AWS's old test: all-ones tensors at 0, 1 and 2, and another tensor at 5."""
    saved = {step: {"foo": np.ones((3, 3))} for step in range(3)} | {5: {"bar": np.ones((3, 3))}}
    return write_trial(tmp_path / "trial", saved)


@pytest.mark.parametrize(
    ("start", "end", "fires"),
    [(0, 2, []), (0, 3, [2]), (2, 3, [2]), (3, 6, [])],
)
def test_ones_at_three_steps_are_unchanged(ones: Trial, start: int, end: int, fires: list[int]) -> None:
    found = findings(ones, build_rule("UnchangedTensor", {"tensor_regex": ".*"}), start=start, end=end)
    assert list(found) == fires
    assert {each.tensor for step in found.values() for each in step} == ({"foo"} if fires else set())


def test_close_is_what_numpy_calls_close(tmp_path: Path) -> None:
    saved = {step: {"foo": np.array([1.0 + 1e-4 * step, np.nan if step > 2 else 0.0])} for step in range(6)}
    trial = write_trial(tmp_path / "trial", saved)
    assert not fired(trial, "UnchangedTensor")
    assert [each.step for each in fired(trial, "UnchangedTensor", rtol="0.001")] == [2]
    assert [each.step for each in fired(trial, "UnchangedTensor", rtol="0.001", equal_nan="True")] == [2, 5]
    assert [each.step for each in fired(trial, "UnchangedTensor", atol="0.00015", num_steps="2")] == [1, 2]


def test_weights_that_learn_change_and_frozen_ones_do_not(sound: Trial, tmp_path: Path) -> None:
    given = {"collection_names": "weights,losses"}
    rule = build_rule("UnchangedTensor", given)
    assert not findings(sound, rule) and not rule.too_few

    def frozen() -> nn.Module:
        network = Net()
        network.first.weight.requires_grad_(False)
        return network

    for reductions in SAVES:
        trial = Training(network=frozen, reductions=reductions, epochs=1).run(tmp_path / str(len(reductions)))
        found = fired(trial, "UnchangedTensor", **given)
        assert {(each.tensor, each.mode) for each in found} == {("Net_first.weight", "TRAIN")}


def test_a_loss_that_stays_is_found_by_the_recommended_parameters(tmp_path: Path) -> None:
    trial = Training(network=ReluAtTheEnd, epochs=1).run(tmp_path / "out")
    found = fired(trial, "UnchangedTensor", **RECOMMENDED["UnchangedTensor"])
    assert {each.tensor for each in found} == {LOSS}
    assert found[0].step == 4 and "(0, 1, 2, 3, 4)" in found[0].message


# --- ExplodingTensor ---


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # smdebug's reductions of infinities
@pytest.mark.parametrize("reductions", SAVES, ids=["raw", "reductions"])
def test_a_training_that_explodes_is_found(tmp_path: Path, reductions: tuple[str, ...]) -> None:
    trial = Training(lr=1e30, optimizer=torch.optim.SGD, epochs=1, reductions=reductions).run(tmp_path / "out")
    found = fired(trial, "ExplodingTensor")
    assert {LOSS, "gradient/Net_fc.weight", "Net_fc.weight"} <= {each.tensor for each in found}
    assert fired(trial, "ExplodingTensor", only_nan="True")
    assert fired(trial, "ExplodingTensor", collection_names="losses")[0].tensor == LOSS


def test_a_sound_training_stays_finite(sound: Trial) -> None:
    rule = build_rule("ExplodingTensor", {})
    assert not findings(sound, rule) and rule.steps_seen == 32


def test_infinity_is_no_nan(tmp_path: Path) -> None:
    trial = write_trial(tmp_path / "trial", {0: {"a": np.array([1.0, np.inf])}, 1: {"a": np.array([1.0, np.nan])}})
    assert [(each.step, each.value) for each in fired(trial, "ExplodingTensor")] == [(0, 0.5), (1, 0.5)]
    assert [each.step for each in fired(trial, "ExplodingTensor", only_nan="True")] == [1]


# --- AllZero ---


@pytest.mark.parametrize("reductions", SAVES, ids=["raw", "reductions"])
def test_gradients_that_are_all_zero_are_found(tmp_path: Path, reductions: tuple[str, ...]) -> None:
    trial = Training(network=ReluAtTheEnd, epochs=1, reductions=reductions).run(tmp_path / "out")
    found = fired(trial, "AllZero", collection_names="gradients")
    assert {each.tensor for each in found} == {"gradient/ReluAtTheEnd_fc.weight", "gradient/ReluAtTheEnd_fc.bias"}


def test_a_sound_training_is_not_all_zero(sound: Trial) -> None:
    rule = build_rule("AllZero", {})
    assert not findings(sound, rule) and rule.steps_seen == 32


def test_a_head_that_starts_at_zero_is_so_for_one_step(tmp_path: Path) -> None:
    trial = Training(network=lambda: zero_head(8, 4), epochs=1).run(tmp_path / "out")
    assert [each.step for each in fired(trial, "AllZero", collection_names="weights")] == [0]


def test_a_share_of_zeros_can_be_asked_for(tmp_path: Path) -> None:
    trial = write_trial(tmp_path / "trial", {0: {"a": np.array([0.0, 0.0, 0.0, 1.0])}})
    assert not fired(trial, "AllZero", tensor_regex="a")
    assert fired(trial, "AllZero", tensor_regex="a", threshold="75")[0].value == 75.0
    assert not fired(trial, "AllZero", tensor_regex="b", threshold="0")


def test_reductions_do_not_know_a_share(tmp_path: Path) -> None:
    trial = Training(reductions=REDUCTIONS, epochs=1).run(tmp_path / "out")
    rule = build_rule("AllZero", {"collection_names": "weights", "threshold": "50"})
    assert not findings(trial, rule)
    assert rule.too_few and "nothing can be said" in rule.account()


# --- TensorVariance ---


def test_a_variance_out_of_bounds_is_found_in_a_net_drawn_too_wide(sound: Trial, tmp_path: Path) -> None:
    def drawn_wide() -> nn.Module:
        network = Net()
        nn.init.normal_(network.first.weight, std=10.0)
        nn.init.constant_(network.fc.weight, 0.5)
        return network

    given = {"collection_names": "weights", "max_threshold": "10", "min_threshold": "0.00001"}
    rule = build_rule("TensorVariance", given)
    assert not findings(sound, rule) and not rule.too_few
    for reductions in SAVES:
        trial = Training(network=drawn_wide, lr=1e-4, epochs=1, reductions=reductions).run(
            tmp_path / str(len(reductions))
        )
        found = [each for each in fired(trial, "TensorVariance", **given) if each.step == 0 and each.mode == "TRAIN"]
        assert {(each.tensor, each.threshold) for each in found} == {
            ("Net_first.weight", 10.0),
            ("Net_fc.weight", 1e-5),
        }
        assert any("above 10" in each.message for each in found)


def test_without_bounds_nothing_is_judged(sound: Trial) -> None:
    rule = build_rule("TensorVariance", {"collection_names": "weights"})
    assert not findings(sound, rule)
    assert "neither max_threshold nor min_threshold was given" in rule.account()


# --- all of them ---


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_trial_and_missing_tensors_are_no_pass(tmp_path: Path, name: str) -> None:
    trials = (Trial(tmp_path / "none"), write_trial(tmp_path / "other", {0: {"x": 1.0}}))
    for trial in trials:
        rule = build_rule(name, {"tensor_regex": "nothing_is_called_so"})
        assert not findings(trial, rule)
        assert rule.too_few and {check.outcome for check in rule.summary(trial)} == {"no data"}


@pytest.mark.parametrize("name", NAMES)
def test_collections_and_expressions_are_united(tmp_path: Path, name: str) -> None:
    saved = {step: {"a": np.zeros(3), "b": np.zeros(3), "c": np.zeros(3)} for step in range(3)}
    bad = {"ExplodingTensor": np.full(3, np.nan)}.get(name, np.zeros(3))
    saved = {step: dict.fromkeys(tensors, bad) for step, tensors in saved.items()}
    trial = write_trial(tmp_path / "trial", saved, collections={"mine": ["a"]})
    bound = {"min_threshold": "1"} if name == "TensorVariance" else {}
    found = fired(trial, name, collection_names="mine", tensor_regex="^b$", **bound)
    assert {each.tensor for each in found} == {"a", "b"}
    assert {each.tensor for each in fired(trial, name, **bound)} == {"a", "b", "c"}


def test_both_modes_are_looked_at(tmp_path: Path) -> None:
    """Validation pictures that are not finite: the training's are."""

    def broken(features: torch.Tensor) -> torch.Tensor:
        return features / 0.0

    trial = Training(validation=broken, epochs=1, data=Data(images=64)).run(tmp_path / "out")
    assert {each.mode for each in fired(trial, "ExplodingTensor", tensor_regex="Loss")} == {"EVAL"}


def test_numbers_that_are_very_large_are_finite(tmp_path: Path) -> None:
    """Their norm is not, in float32: reductions are judged by min and max."""
    trial = Training(
        lr=1e22, optimizer=torch.optim.SGD, epochs=1, reductions=REDUCTIONS, network=lambda: zero_head(8, 4)
    )
    assert not fired(trial.run(tmp_path / "out"), "ExplodingTensor")
