"""kennel.training.evaluation: numbers over images, counted by hand here."""

import math

import pytest
import torch
from torch import Tensor, nn

from kennel.training.evaluation import confusion_matrix, describe, macro_f1, predict, score
from kennel.training.features import EvalFeatures
from kennel.training.stopping import Stopped, StopRequest

PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]])
TARGETS = torch.tensor([0, 1, 1, 1])


def test_score_counts_over_images() -> None:
    found = score(PROBABILITIES, TARGETS)
    assert found.images == 4
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx(-sum(math.log(p) for p in (0.7, 0.3, 0.8, 0.4)) / 4, rel=1e-6)


def test_score_takes_top_5_of_all_classes_where_there_are_fewer() -> None:
    assert score(PROBABILITIES, TARGETS).top5 == 1


def test_score_takes_top_5_of_more_classes() -> None:
    probabilities = torch.tensor([[0.3, 0.25, 0.2, 0.1, 0.1, 0.05], [0.05, 0.1, 0.1, 0.2, 0.25, 0.3]])
    assert score(probabilities, torch.tensor([5, 5])).top5 == 0.5


def test_score_stays_finite_for_a_probability_of_0() -> None:
    assert math.isfinite(score(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).loss)


def test_confusion_matrix_has_a_row_for_a_target_and_a_column_for_a_prediction() -> None:
    assert confusion_matrix(PROBABILITIES, TARGETS).tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_macro_f1_is_the_mean_over_classes_that_are_there() -> None:
    assert macro_f1(torch.tensor([[1, 0, 0], [1, 2, 0], [0, 0, 0]])) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_macro_f1_counts_a_class_that_is_only_predicted() -> None:
    assert macro_f1(torch.tensor([[1, 1], [0, 0]])) == pytest.approx((2 / 3 + 0) / 2)


def test_describe_has_every_class_also_one_without_images() -> None:
    found = describe(PROBABILITIES, TARGETS, ["a", "b", "c"])
    assert [each["accuracy"] for each in found["per_class"]] == [1.0, pytest.approx(2 / 3), None]
    assert [each["images"] for each in found["per_class"]] == [1, 3, 0]
    assert found["confusion_matrix"] == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]


class _Recorder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(2))
        self.dropout = nn.Dropout(0.5)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.dropout(features) @ self.weight
        return out


def test_predict_uses_eval_mode_and_divides_by_the_temperature() -> None:
    network = _Recorder().train()
    inputs = EvalFeatures(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    found = predict(network, inputs, temperature=2.0, name="valid", stop=StopRequest())
    assert found[0, 0] == pytest.approx(1 / (1 + math.exp(-1)))
    assert not network.training


def test_predict_stops_when_told() -> None:
    stop = StopRequest()
    stop.make(15)
    with pytest.raises(Stopped, match="SIGTERM"):
        predict(_Recorder(), EvalFeatures(torch.rand(1, 2), torch.tensor([0])), temperature=1, name="valid", stop=stop)
