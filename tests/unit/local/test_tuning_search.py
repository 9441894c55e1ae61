"""The searches: every scaling, every strategy, the same again by a seed, and a journal that was cut."""

import math
from pathlib import Path
from statistics import fmean

import pytest

from kennel.local.tuning_ranges import Range
from kennel.local.tuning_search import Plan, Search, is_logarithmic

RATE = Range("lr", "continuous", 1e-5, 1e-1, scaling="Logarithmic")
BATCH = Range("batch", "categorical", values=('"16"', '"32"', '"64"'))
DEPTH = Range("depth", "integer", 2, 9, scaling="Linear")


def plan(strategy: str = "Random", *ranges: Range, seed: int = 7, most: int = 20, name: str = "search") -> Plan:
    resources = (1, 9) if strategy == "Hyperband" else None
    return Plan(name, strategy, True, ranges or (RATE, BATCH, DEPTH), seed, most, resources)


def draws(search: Search, count: int, *, first: int = 0) -> list[dict[str, str]]:
    found = []
    for draw in range(first, first + count):
        proposal = search.ask(draw)
        search.tell(proposal.number, [float(draw)], status="Completed")
        found.append(proposal.parameters)
    return found


def test_values_are_sent_as_strings_of_their_kind(tmp_path: Path) -> None:
    for parameters in draws(Search(plan(), tmp_path / "search.log"), 20):
        assert 1e-5 <= float(parameters["lr"]) <= 1e-1 and repr(float(parameters["lr"])) == parameters["lr"]
        assert parameters["batch"] in BATCH.values
        assert parameters["depth"] in "23456789"


@pytest.mark.parametrize(
    ("wanted", "halves_at"),
    [
        (Range("x", "continuous", 0.0, 1.0, scaling="Linear"), 0.5),
        (Range("x", "continuous", 0.0, 1.0, scaling="Auto"), 0.5),
        (Range("x", "continuous", 1e-6, 1e-2, scaling="Auto"), 1e-4),
        (Range("x", "continuous", 1e-6, 1e-2, scaling="Logarithmic"), 1e-4),
        (Range("x", "continuous", 0.9, 0.9999, scaling="ReverseLogarithmic"), 1 - math.sqrt(0.1 * 0.0001)),
        (Range("x", "integer", 1, 10_000, scaling="Logarithmic"), 100),
        (Range("x", "integer", 0, 100, scaling="Auto"), 50),
    ],
)
def test_scaling_puts_half_the_draws_below_its_middle(tmp_path: Path, wanted: Range, halves_at: float) -> None:
    values = [float(each["x"]) for each in draws(Search(plan("Random", wanted), tmp_path / "search.log"), 80)]
    assert wanted.low is not None and wanted.high is not None
    assert all(wanted.low <= value <= wanted.high for value in values)
    assert 25 <= sum(value < halves_at for value in values) <= 55


def test_auto_is_logarithmic_from_two_orders_of_magnitude_on() -> None:
    assert is_logarithmic(Range("x", "continuous", 0.01, 1.0)) and is_logarithmic(Range("x", "integer", 1, 100))
    assert not is_logarithmic(Range("x", "continuous", 0.011, 1.0))
    assert not is_logarithmic(Range("x", "continuous", 0.0, 1.0))


@pytest.mark.parametrize("strategy", ["Random", "Bayesian", "Grid"])
def test_few_combinations_are_all_tried_before_one_is_tried_twice(tmp_path: Path, strategy: str) -> None:
    others = Range("n", "integer", 1, 2), Range("fixed", "continuous", 0.5, 0.5)
    ranges = (BATCH, Range("n", "categorical", values=("1", "2"))) if strategy == "Grid" else (BATCH, *others)
    search = Search(plan(strategy, *ranges), tmp_path / "search.log")
    tried: list[dict[str, str]] = []
    for draw in range(6):
        proposal = search.ask(draw, tried=tried)
        search.tell(proposal.number, [float(draw)], status="Completed")
        tried.append(proposal.parameters)
    assert len({tuple(each.items()) for each in tried}) == 6


@pytest.mark.parametrize("strategy", ["Random", "Hyperband"])
def test_same_seed_gives_the_same_draws_whatever_came_in_between(tmp_path: Path, strategy: str) -> None:
    straight = draws(Search(plan(strategy), tmp_path / "straight.log"), 8)
    search = Search(plan(strategy), tmp_path / "bent.log")
    bent = [search.ask(draw).parameters for draw in range(3)]  # side by side, none of them told
    search.again(bent[1])
    search = Search(plan(strategy), tmp_path / "bent.log")  # as after a restart
    assert bent + draws(search, 5, first=3) == straight
    assert draws(Search(plan(strategy, seed=8), tmp_path / "other.log"), 8) != straight


def test_grid_visits_every_combination_once(tmp_path: Path) -> None:
    grid = plan("Grid", BATCH, Range("opt", "categorical", values=("a", "b")))
    search = Search(grid, tmp_path / "search.log")
    seen = [search.ask(0).parameters, search.ask(1).parameters]
    search = Search(grid, tmp_path / "search.log")
    search.tell(0, (), status="Failed")
    seen.append(search.again(seen[0]).parameters)  # an interrupted one
    seen += draws(search, 4, first=2)
    assert grid.draws == 6
    assert len({tuple(each.items()) for each in seen}) == 6


def best_loss(strategy: str, journal: Path, seed: int) -> float:
    """How near 20 draws come to the bottom of a valley."""
    search = Search(plan(strategy, RATE, BATCH, seed=seed), journal)
    losses = []
    for draw in range(20):
        proposal = search.ask(draw)
        loss = (math.log10(float(proposal.parameters["lr"])) + 2.5) ** 2 + (proposal.parameters["batch"] != '"32"')
        search.tell(proposal.number, [loss], status="Completed")
        losses.append(loss)
    return min(losses)


def test_bayesian_search_comes_nearer_than_random_search(tmp_path: Path) -> None:
    means = {
        strategy: fmean(best_loss(strategy, tmp_path / f"{strategy}{seed}.log", seed) for seed in range(4))
        for strategy in ("Bayesian", "Random")
    }
    assert means["Bayesian"] < 0.5 * means["Random"]


def test_hyperband_prunes_the_worse_trials_and_not_the_best(tmp_path: Path) -> None:
    search = Search(plan("Hyperband", RATE), tmp_path / "search.log")
    stopped = {}
    for draw in range(30):
        number = search.ask(draw).number
        loss = float((draw * 7) % 30)  # shuffled
        values = [loss] * 9
        stopped[loss] = search.is_to_be_stopped(number, values, epoch=1)
        search.tell(number, values[:1] if stopped[loss] else values, status="Stopped" if stopped[loss] else "Completed")
    assert not stopped[0.0]
    assert sum(stopped[loss] for loss in stopped if loss > 20) >= 3
    assert 5 <= sum(stopped.values()) <= 25


def test_other_strategies_prune_nothing(tmp_path: Path) -> None:
    search = Search(plan("Random"), tmp_path / "search.log")
    draws(search, 5)
    assert not search.is_to_be_stopped(search.ask(5).number, [1e9] * 9, epoch=1)


def test_what_parents_found_is_learned_unless_it_is_outside_the_ranges(tmp_path: Path) -> None:
    search = Search(plan("Bayesian", RATE, DEPTH, most=20), tmp_path / "search.log")
    inside = {"lr": "0.001", "depth": "3", "batch": '"16"'}
    assert search.learn(inside, 0.5)
    for change in ({"lr": "0.5"}, {"depth": "10"}, {"depth": "2.5"}, {"lr": "fast"}):
        assert not search.learn({**inside, **change}, 0.1)
    assert not search.learn({"lr": "0.001"}, 0.1)
    categorical = Search(plan("Random", BATCH, name="other"), tmp_path / "search.log")
    assert categorical.learn({"batch": '"16"'}, 1.0) and not categorical.learn({"batch": "16"}, 1.0)


def test_reverse_logarithmic_values_survive_being_tried_again(tmp_path: Path) -> None:
    momentum = Range("x", "continuous", 0.5, 0.999, scaling="ReverseLogarithmic")
    search = Search(plan("Random", momentum), tmp_path / "search.log")
    for value in ("0.5", "0.999", search.ask(0).parameters["x"]):
        assert search.again({"x": value}).parameters == {"x": value}


def test_journal_with_half_a_line_at_its_end_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "search.log"
    first = draws(Search(plan(), journal), 3)
    with journal.open("ab") as stream:
        stream.write(b'{"op_code":4,"worker')
    journal.with_name("search.log.lock").symlink_to(journal)  # held by the one that was killed
    search = Search(plan(), journal)
    assert first + draws(search, 2, first=3) == draws(Search(plan(), tmp_path / "whole.log"), 5)
    assert search.ask(5).number == 5
    assert len(journal.read_text().splitlines()) == journal.read_text().count("\n")


def test_trials_that_never_became_jobs_are_given_back(tmp_path: Path) -> None:
    search = Search(plan(), tmp_path / "search.log")
    known, lost = search.ask(0), search.ask(1)
    assert search.forget_running({known.number}) == [lost.parameters]
    assert search.forget_running({known.number}) == []
    search.tell(known.number, [1.0], status="Completed")
    search.tell(known.number, [2.0], status="Completed")  # the second time is not heard
