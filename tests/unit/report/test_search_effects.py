import numpy as np
import pytest

from kennel.report.search_effects import at_end, effect, position, ranks
from kennel.report.search_record import SearchRange

LR = SearchRange("lr", "continuous", 1e-4, 1e-1, scaling="Logarithmic")
SHARE = SearchRange("label-smoothing", "continuous", 0.0, 0.4)
BATCH = SearchRange("batch-size", "categorical", values=("32", "16", "64"))
OPTIMIZER = SearchRange("optimizer", "categorical", values=("adamw", "sgd"))


def test_ranks_count_from_the_least_and_equal_ones_share() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_an_optimum_in_the_middle_is_seen_where_a_correlation_sees_nothing() -> None:
    values = [10 ** (-4 + 3 * place / 20) for place in range(21)]
    found = effect(LR, values, [(np.log10(value) + 2.5) ** 2 for value in values], is_minimized=True)
    assert abs(found["rho"]) < 0.1
    assert found["share"] > 0.9
    assert found["chance"] < 0.01
    assert found["sentence"] == "It mattered; the best lies in between."


@pytest.mark.parametrize(("is_minimized", "better"), [(True, "smaller"), (False, "larger")])
def test_a_slope_says_which_way_is_better(is_minimized: bool, better: str) -> None:
    values = [float(place) / 50 for place in range(20)]
    found = effect(SHARE, values, values, is_minimized=is_minimized)
    assert found["rho"] == pytest.approx(1)
    assert found["sentence"] == f"It mattered: {better} was better."


def test_noise_has_no_clear_effect() -> None:
    noise = np.random.default_rng(1)
    values = [0.4 * place / 30 for place in range(30)]
    found = effect(SHARE, values, list(noise.normal(size=30)), is_minimized=True)
    assert found["chance"] > 0.05
    assert found["sentence"].startswith("No clear effect")


def test_words_have_groups_and_no_correlation() -> None:
    values = ["adamw", "sgd"] * 6
    found = effect(
        OPTIMIZER, values, [0.1 + 0.01 * n if n % 2 else 0.5 + 0.01 * n for n in range(12)], is_minimized=True
    )
    assert found["rho"] is None
    assert found["share"] == pytest.approx(0.755, abs=0.01)  # 1 - within/total of the ranks 1-6 and 7-12
    assert found["sentence"] == "It mattered: the groups differ."


def test_few_trainings_say_nothing_of_what_mattered() -> None:
    found = effect(SHARE, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0], is_minimized=True)
    assert found["share"] is None
    assert found["sentence"] == "3 trainings are too few to say whether it mattered."
    assert effect(SHARE, [0.1] * 9, [1.0] * 9, is_minimized=True)["sentence"] == "The trainings had one value of it."


def test_a_place_in_a_range_is_counted_as_it_was_searched() -> None:
    assert position(LR, 0.001) == pytest.approx(1 / 3)
    assert position(SHARE, 0.1) == pytest.approx(0.25)
    assert [position(BATCH, value) for value in (16, 32, 64)] == [0, 0.5, 1]
    assert position(OPTIMIZER, "sgd") == 1
    assert position(OPTIMIZER, "lion") is None
    reverse = SearchRange("momentum", "continuous", 0.0, 0.99, scaling="ReverseLogarithmic")
    assert position(reverse, 0.9) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("of", "best", "wider"),
    [
        (LR, 0.00011, 1e-5),
        (LR, 0.099, 1.0),
        (BATCH, 64, 128),
        (BATCH, 16, 8),
        (SearchRange("views", "integer", 1, 8), 8, 12),
        (SearchRange("label-smoothing", "continuous", 0.0, 0.4), 0.4, 0.6),
        (SearchRange("label-smoothing", "continuous", 0.0, 0.8), 0.8, 0.9),  # as far as it goes
        (SearchRange("own", "continuous", 2.0, 4.0), 2.0, 1.0),
    ],
    ids=str,
)
def test_a_best_at_the_end_of_its_range_gets_a_wider_one(of: SearchRange, best: float, wider: float) -> None:
    found = at_end(of, best, 20)
    assert found is not None
    assert found["wider"] == pytest.approx(wider)


@pytest.mark.parametrize(
    ("of", "best"),
    [
        (LR, 0.003),
        (BATCH, 32),
        (OPTIMIZER, "sgd"),
        (SearchRange("label-smoothing", "continuous", 0.0, 0.4), 0.0),  # there is nothing below
        (SearchRange("views", "integer", 1, 8), 1),
        (SearchRange("batch-size", "categorical", values=("1", "2", "4")), 1),
    ],
    ids=str,
)
def test_a_best_inside_or_at_what_is_possible_at_all_is_no_reason_to_widen(of: SearchRange, best: float | str) -> None:
    assert at_end(of, best, 20) is None


def test_few_trainings_are_no_reason_to_widen() -> None:
    assert at_end(LR, 0.1, 4) is None
