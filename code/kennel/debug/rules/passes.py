"""Passes: the steps of training up to a validation, with that validation, as they lie in what was saved."""

from dataclasses import dataclass

from kennel.debug.rules.reading import Point


@dataclass(frozen=True)
class Pass:
    """A validation with the training before it. train: mean loss since the validation before, None without any.

    validation: mean loss of the validation steps so far; count: how many they are; first, last: GLOBAL steps.
    """

    number: int
    train: float | None
    validation: float
    count: int
    first: int
    last: int


class Passes:
    """Splits losses into passes: a training step after validation steps begins a new one."""

    def __init__(self) -> None:
        self.closed: list[Pass] = []
        self._train: list[float] = []
        self._validation: list[Point] = []

    def add(self, point: Point) -> None:
        """Takes the next loss, of TRAIN or EVAL; those of other modes tell nothing."""
        if point.mode == "EVAL":
            self._validation.append(point)
        elif point.mode == "TRAIN":
            if self._validation:
                self._close()
            self._train.append(point.value)

    @property
    def open(self) -> Pass | None:
        """The pass that validation steps are still being added to."""
        if not self._validation:
            return None
        values = [point.value for point in self._validation]
        train = sum(self._train) / len(self._train) if self._train else None
        first, last = self._validation[0].step, self._validation[-1].step
        return Pass(len(self.closed) + 1, train, sum(values) / len(values), len(values), first, last)

    @property
    def whole(self) -> list[Pass]:
        """The closed ones, and the open one if it has as many validation steps as the one before it."""
        last = self.open
        if last is None or not self.closed or last.count < self.closed[-1].count:
            return self.closed
        return [*self.closed, last]

    def _close(self) -> None:
        if self.open is not None:
            self.closed.append(self.open)
        self._train, self._validation = [], []
