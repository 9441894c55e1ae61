"""The rules by which trials and searches end, against vectors worked out by hand."""

import pytest

from kennel.local.tuning_stopping import has_converged, has_reached, is_to_be_stopped, not_improving

# Running averages up to epoch 2: 2.5, 2.0, 1.5; the median is 2.0. Each goes on to an epoch 3.
EARLIER = ((3.0, 2.0, 1.0), (2.0, 2.0, 2.0), (1.0, 2.0, 9.0))


@pytest.mark.parametrize(
    ("history", "is_stopped"),
    [
        ((9.0, 2.01), True),
        ((9.0, 2.0), False),  # not worse than the median
        ((2.01, 1.0), False),  # the value of this epoch counts, not the first one
        ((2.01,), True),  # epoch 1: averages 3, 2, 1
        ((9.0, 9.0, 9.0), False),  # where the others ended
        ((), False),
    ],
)
def test_running_trial_is_stopped_when_worse_than_the_median_of_running_averages(
    history: tuple[float, ...], is_stopped: bool
) -> None:
    assert is_to_be_stopped(history, EARLIER, minimize=True) is is_stopped


def test_worse_is_lower_when_maximizing() -> None:
    assert is_to_be_stopped((0.0, 1.99), EARLIER, minimize=False)
    assert not is_to_be_stopped((9.0, 2.01), EARLIER, minimize=False)


def test_nothing_is_stopped_before_three_trials_went_beyond_the_epoch() -> None:
    assert not is_to_be_stopped((99.0,), EARLIER[:2], minimize=True)
    assert not is_to_be_stopped((99.0,), (*EARLIER[:2], (1.0,)), minimize=True)


@pytest.mark.parametrize(
    ("objectives", "count"),
    [
        ((), 0),
        ((5.0,), 0),
        ((5.0, 4.0), 0),
        ((5.0, 4.96), 1),  # less than 1 %
        ((5.0, 4.96, 4.94), 0),  # small steps add up
        ((5.0, 4.0, 6.0, 7.0, 4.0), 3),
    ],
)
def test_trials_that_do_not_improve_by_one_percent_are_counted(objectives: tuple[float, ...], count: int) -> None:
    assert not_improving(objectives, minimize=True) == count
    assert not_improving([-each for each in objectives], minimize=False) == count


def test_search_has_converged_after_ten_trials_without_a_better_one() -> None:
    falling = [10.0, 8.0, 6.0, 4.0, 2.0]
    assert not has_converged([*falling, *[3.0] * 9], minimize=True)
    assert has_converged([*falling, *[3.0] * 10], minimize=True)
    assert not has_converged([1.0] * 14, minimize=True)


def test_target_is_reached_from_either_side() -> None:
    assert has_reached(0.5, [0.9, 0.5], minimize=True) and not has_reached(0.5, [0.9, 0.51], minimize=True)
    assert has_reached(0.5, [0.1, 0.5], minimize=False) and not has_reached(0.5, [0.1, 0.49], minimize=False)
