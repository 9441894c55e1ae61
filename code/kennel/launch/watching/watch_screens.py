"""Where what is watched is shown: a live view on a terminal, plain lines elsewhere, a bar for a training here.

    screen = make_screen(place)
    screen.say("epoch=1/5 train_loss=0.4")      # a line that stays
    screen.show(View("training job", "dogs-1", "InProgress", "Training"))
    screen.close()

Exercise it: pytest tests/unit/launch/test_watch.py
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from tqdm import tqdm

from kennel.launch.places import Place

if TYPE_CHECKING:
    from rich.console import Console, Group

_COLUMNS: Final = 3
_TAB: Final = 8
# Of the metrics of a training, those that are shown first where there is room for few.
_FIRST: Final = ("validation:loss", "validation:accuracy", "train:loss")


@dataclass(frozen=True)
class View:
    """What is known at a moment. epoch: (now, of how many). cost: in words. elapsed_s: since it began to be paid for.

    state: as the API has it; message: what is said of it.
    """

    title: str
    name: str
    state: str
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: tuple[int, int] | None = None
    cost: str = ""
    elapsed_s: float = 0.0
    hint: str = ""


class Screen(Protocol):
    """is_terse: it is for log lines, and says no states."""

    is_terse: bool

    def say(self, line: str) -> None: ...

    def show(self, view: View) -> None: ...

    def close(self) -> None: ...

    @contextmanager
    def paused(self) -> Iterator[None]: ...


def make_screen(place: Place, *, has_log: bool) -> Screen:
    """On AWS a live view on a terminal; a bar under the log of what runs here; plain lines elsewhere."""
    if place.is_aws and sys.stdout.isatty():
        return LiveView()
    return LogWithBar() if has_log and not place.is_aws else Lines()


class Lines:
    """A line for each change; a log's own lines as they are."""

    is_terse = False

    def say(self, line: str) -> None:
        print(line, flush=True)

    def show(self, view: View) -> None:
        """All is in the lines."""

    def close(self) -> None:
        """Nothing is left to say."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield


class LogWithBar:
    """The log as it is, and on a terminal a bar over the epochs below it."""

    is_terse = True

    def __init__(self) -> None:
        self._bar: tqdm[Any] = tqdm(unit="epoch", disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True)

    def say(self, line: str) -> None:
        self._bar.write(line, file=sys.stdout)
        sys.stdout.flush()

    def show(self, view: View) -> None:
        if view.epoch:
            self._bar.n, self._bar.total = view.epoch
        self._bar.set_description(f"{view.name} {view.state}")

    def close(self) -> None:
        self._bar.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield


class LiveView:
    """Lines that stay, and below them what is known now, redrawn."""

    is_terse = False

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(highlight=False, markup=False)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._live.start()

    def say(self, line: str) -> None:
        from rich.text import Text

        self._live.console.print(Text(printable(line)), soft_wrap=True)

    def show(self, view: View) -> None:
        self._live.update(drawn(view), refresh=True)

    def close(self) -> None:
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal as it was: somebody types."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start(refresh=True)


def printable(line: str) -> str:
    """Without what moves the cursor or colours the rest of the screen: a log is somebody else's text."""
    line = line.expandtabs(_TAB).rsplit("\r", 1)[-1]
    return "".join(each for each in line if each.isprintable())


def drawn(view: View) -> "Group":
    """State, progress, metrics and cost, in a few rows."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Text.assemble((f"{view.title} {view.name}", "bold"), "  ", (view.state, "cyan"), f"  {view.message}")
    rows: list[Any] = [Text(""), head]
    if view.epoch:
        bar = Table.grid(padding=(0, 2, 0, 0))
        bar.add_row(ProgressBar(total=view.epoch[1], completed=view.epoch[0], width=40), f"epoch {_of(view.epoch)}")
        rows.append(bar)
    if view.metrics:
        rows.append(_metrics(view.metrics))
    facts = [f"{duration(view.elapsed_s)}" if view.elapsed_s else "", view.cost, view.hint]
    rows.append(Text("  ".join(each for each in facts if each), style="dim"))
    return Group(*rows)


def _metrics(metrics: Mapping[str, float]) -> Any:  # noqa: ANN401  rich's Table
    """The latest values, a few side by side."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 3, 0, 0))
    names = sorted(metrics, key=lambda name: (name not in _FIRST, name))
    cells = [f"{name} {metrics[name]:.4g}" for name in names]
    for start in range(0, len(cells), _COLUMNS):
        grid.add_row(*cells[start : start + _COLUMNS])
    return grid


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _of(epoch: tuple[int, int]) -> str:
    return f"{epoch[0]} of {epoch[1]}"
