"""torch and ONNX Runtime as engines of the server: speed, memory and time to the first answer, one thread each.

    .venv/bin/python benchmarks/serving_engines.py [--backbones resnet18 resnet50] [--rounds 8] [--batch 1]

Each engine is a process that loads the same archive as the server's worker does (random weights: they cost what trained
ones do), golden predictions included, and answers one picture. Then both compute the same 224 px batches in turns,
round by round, so that whatever else the machine does meets both; the median of the rounds counts. Beside them the
machine's own limit: an fp32 matrix product on one core, measured in the same turns, by CPU time as well.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # as the server sets it; read when torch and numpy are imported
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

GFLOP_PER_IMAGE = {"resnet18": 3.64, "resnet50": 8.18}  # multiply and add counted apart, 224x224
ENGINES = ("torch", "onnxruntime")
IMAGES_PER_ROUND = 16


@dataclass(frozen=True)
class Round:
    """What IMAGES_PER_ROUND pictures took."""

    wall_s: float
    cpu_s: float


def main() -> None:
    arguments = read_arguments()
    if arguments.serve:
        answer_commands(Path(arguments.serve[0]), arguments.serve[1], arguments.batch)
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, batches of {arguments.batch}, one thread")
    for backbone in arguments.backbones:
        with tempfile.TemporaryDirectory(prefix="kennel-benchmark-") as folder:
            write_model(Path(folder), backbone)
            compare(backbone, Path(folder), arguments)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(GFLOP_PER_IMAGE), choices=list(GFLOP_PER_IMAGE))
    parser.add_argument("--rounds", type=int, default=8, metavar="N")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images that are computed together")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "ENGINE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(backbone: str, folder: Path, arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        workers = {name: stack.enter_context(started(folder, name, arguments.batch)) for name in ENGINES}
        rounds: dict[str, list[Round]] = {name: [] for name in ENGINES}
        limits = []
        for _ in range(arguments.rounds):
            for name, worker in workers.items():
                rounds[name].append(Round(**worker.ask("round")))
            limits.append(sgemm_gflops())
        ends = {name: worker.ask("memory") for name, worker in workers.items()}
    gflops = statistics.median(limits)
    limit_ms = GFLOP_PER_IMAGE[backbone] / gflops * 1000
    print(
        f"\n{backbone}, 224 px: an fp32 product at {gflops:.0f} GFLOP/s a core would be {limit_ms:.1f} CPU-ms an image"
    )
    print("| engine | images/s | CPU-ms an image | of the limit | first answer after | resident | at most |")
    print("|---|---|---|---|---|---|---|")
    for name in ENGINES:
        speed = IMAGES_PER_ROUND / statistics.median(each.wall_s for each in rounds[name])
        cpu_ms = statistics.median(each.cpu_s for each in rounds[name]) / IMAGES_PER_ROUND * 1000
        row = [
            name,
            f"{speed:.1f}",
            f"{cpu_ms:.1f}",
            f"{limit_ms / cpu_ms:.2f}",
            f"{workers[name].first_answer_s:.2f} s",
        ]
        print("|", " | ".join([*row, f"{ends[name]['rss_mb']:.0f} MB", f"{ends[name]['peak_mb']:.0f} MB"]), "|")


@dataclass(frozen=True)
class Worker:
    """A process with an engine, and how long it took from its start to its first answer."""

    process: "subprocess.Popen[str]"
    first_answer_s: float

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))


@contextmanager
def started(folder: Path, engine: str, batch: int) -> Iterator[Worker]:
    """The first start of an engine only warms the disk's cache; the second one is timed."""
    for attempt in ("warm", "timed"):
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(folder), engine, "--batch", str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        worker = Worker(process, time.perf_counter() - begin)
        if attempt == "timed":
            try:
                yield worker
            finally:
                process.communicate()
        else:
            process.communicate()


def answer_commands(folder: Path, engine: str, batch: int) -> None:
    """The process with an engine: answers a picture, says so, and then does what it is told, a line at a time."""
    import numpy as np

    from kennel.images.decode import decode_image
    from kennel.serving.engine import load_engine

    loaded = load_engine(folder / "model", name=engine)
    loaded.predict([decode_image((folder / "picture.jpg").read_bytes())], top_k=1)
    print(json.dumps("ready"), flush=True)
    images = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    loaded.network(images)
    commands = {"round": lambda: timed(lambda: loaded.network(images), batch), "memory": memory}
    for line in sys.stdin:
        print(json.dumps(commands[line.strip()]()), flush=True)


def timed(run: Any, batch: int) -> dict[str, float]:  # noqa: ANN401
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(IMAGES_PER_ROUND // batch):
        run()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def sgemm_gflops() -> float:
    """The better of two fp32 products of 2048x2048 matrices, one thread, by CPU time."""
    import torch

    torch.set_num_threads(1)
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    times = []
    for _ in range(2):
        start = time.process_time()
        left @ right
        times.append(time.process_time() - start)
    return 2 * 2048**3 / min(times) / 1e9


def memory() -> dict[str, float]:
    """Resident now, and at most since the start."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"rss_mb": int(lines["VmRSS"].split()[0]) / 1024, "peak_mb": int(lines["VmHWM"].split()[0]) / 1024}


def write_model(folder: Path, backbone: str) -> None:
    """An archive of `backbone` for 224 px, and a picture of the usual size."""
    import torch

    from kennel.images.transforms import EvalTransform
    from kennel.model.classifier import build_classifier
    from kennel.model.trained import write_archive
    from served_archive import CARD, picture

    torch.manual_seed(0)
    model = build_classifier(backbone, "linear", len(CARD.classes)).eval()
    card = replace(CARD, backbone=backbone, eval_transform=EvalTransform.for_size(224))
    (folder / "picture.jpg").write_bytes(picture("JPEG", size=(500, 375)))
    write_archive(folder / "model", model, card, golden=[picture(), picture("JPEG", colour="olive")])


if __name__ == "__main__":
    main()
