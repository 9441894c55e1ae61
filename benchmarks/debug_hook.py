"""What the hook costs: the same steps of a ResNet-18 with it and without, in turn.

    .venv/bin/python benchmarks/debug_hook.py                   # a minute or two; --batch 16 --threads 1
    .venv/bin/python benchmarks/debug_hook.py --trainings       # whole trainings of train.py too

A step that is saved is paired with one that is not, on the same batch of noise. The ratio follows from the interval of
an epoch of 105 steps (8,351 images); it is what "at most 3 %" (our statistics) and "at most 20 %" (SageMaker's default
collections, as raw tensors, at the same interval) are said of. Steps of a head on cached features are so short that it
is the hook's own bound that keeps it small, by the time since the job began: --trainings shows that on whole jobs.
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "code"))

from kennel.dataset.sample import make_sample  # noqa: E402
from kennel.debug.hook import Hook, Plan  # noqa: E402
from kennel.debug.hook_config import HookOrder  # noqa: E402
from kennel.debug.hook_steps import StepHook  # noqa: E402
from kennel.hyperparameters import Hyperparameters  # noqa: E402
from kennel.profile.timeline import OFF as NO_TIMELINE  # noqa: E402
from kennel.training.fit import Fitting  # noqa: E402
from kennel.training.loader import Batch  # noqa: E402
from kennel.training.network import build_start  # noqa: E402
from kennel.training.objective import Objective  # noqa: E402
from kennel.training.stopping import StopRequest  # noqa: E402
from kennel.training.watching import Watch  # noqa: E402

SAGEMAKER = ("weights", "gradients", "losses", "biases", "relu_input")
# Steps in an epoch of the pictures this is told of: 8,351 in 80:10:10 parts at batch 64.
STEPS = 105


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    print(f"device={arguments.device} threads={arguments.threads} batch={arguments.batch} size_px={arguments.size}")
    with tempfile.TemporaryDirectory(prefix="kennel-hook-") as scratch:
        for trainable in ("all", "head"):
            for name, collections in (("default", {}), ("sagemaker", dict.fromkeys(SAGEMAKER, {}))):
                folder = Path(scratch, f"{trainable}-{name}")
                order = HookOrder(folder, {"save_interval": "1"}, collections, max_bytes=10**11)
                measure(f"{trainable} {name}", trainable, order, arguments)
        if arguments.trainings:
            whole_trainings(Path(scratch))


def measure(name: str, trainable: str, order: HookOrder, arguments: argparse.Namespace) -> None:
    """Saved and unsaved steps in turn; of the head, on features as they are cached."""
    settings = Hyperparameters(
        weights="none", trainable=trainable, batch_size=arguments.batch, image_size=arguments.size
    )
    with contextlib.redirect_stdout(io.StringIO()):
        start = build_start(settings, classes=133, channels={}, device=torch.device(arguments.device))
    fitting = Fitting(start.model, settings, classes=133, pretrained=False)
    fitting.network.train()
    now = time.perf_counter()
    hook = StepHook(order, Plan(STEPS, 14), fitting.network, phase=NO_TIMELINE.phase, started=now, began=now)
    numbers = torch.Generator().manual_seed(0)
    shape = (512,) if trainable == "head" else (3, arguments.size, arguments.size)
    inputs = torch.randn(arguments.batch, *shape, generator=numbers)
    batch = Batch(inputs, torch.randint(133, (arguments.batch,), generator=numbers), arguments.batch, 0)
    plain, saved = [], []
    for number in range(2 * (arguments.steps * (1 if trainable == "all" else 20) + 2)):
        listener = hook if number % 2 else Hook()
        fitting.watch = Watch(hook=listener)
        (saved if number % 2 else plain).append(time_step(fitting, batch, number))
    plain, saved = plain[2:], saved[2:]  # the first ones warm up
    cost = statistics.median(after - before for before, after in zip(plain, saved, strict=True))
    step = statistics.median(plain)
    interval = Plan(STEPS, 14).interval
    print(
        f"{name:<15} step_ms={step * 1e3:<7.2f} saved_step_costs_ms={cost * 1e3:<7.2f} at_interval_{interval}="
        f"{cost / (step * interval):<7.4f} mb_a_step={hook._tensors.bytes / (len(saved) + 2) / 1e6:.2f}"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        hook.close()


def time_step(fitting: Fitting, batch: Batch, number: int) -> float:
    """Seconds of one step as Fitting makes it."""
    started = time.perf_counter()
    fitting.watch.hook.begin_step(number)
    step = fitting._train_step(batch, Objective(), StopRequest(), purpose=(0, 1, number))
    fitting.watch.hook.end_step(step.loss, step.hits / batch.images)
    return time.perf_counter() - started


def whole_trainings(scratch: Path) -> None:
    """train.py with the head on features, debug=on and off in turn: wall time, and what the run says of itself."""
    pictures = scratch / "pictures"
    make_sample(pictures, seed=0)
    walls: dict[str, list[float]] = {"off": [], "on": []}
    for turn in range(2):
        for debug in ("off", "on"):
            base = scratch / f"{debug}-{turn}"
            (base / "input" / "data").mkdir(parents=True)
            (base / "input" / "data" / "train").symlink_to(pictures)
            program = [sys.executable, str(REPOSITORY / "code" / "train.py"), "--weights", "none", "--debug", debug]
            began = time.perf_counter()
            environ = {"SAGEMAKER_BASE_DIR": str(base), "PATH": "/usr/bin:/bin"}
            subprocess.run(program, env=environ, stdout=subprocess.DEVNULL, check=True)
            walls[debug].append(time.perf_counter() - began)
            if debug == "on":
                facts = json.loads((base / "output" / "data" / "debug-output" / "kennel.json").read_text())
                print("train.py       ", " ".join(f"{key}={value}" for key, value in facts["overhead"].items()))
    off, on = statistics.median(walls["off"]), statistics.median(walls["on"])
    print(
        f"train.py        off_s={off:.1f} on_s={on:.1f} ratio={on / off:.3f} (hook, timeline, samples of the machine)"
    )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trainings", action="store_true", help="whole trainings of train.py too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
