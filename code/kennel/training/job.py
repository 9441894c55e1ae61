"""A whole training, in the order it runs: data, network, fit, results. `train.py` is its `main`.

Where torchrun started several of it, they train one model together (kennel.training.distributed).
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from kennel.dataset.folders import Dataset
from kennel.debug.hook import Plan
from kennel.errors import ContractError, DataError
from kennel.hyperparameters import Hyperparameters
from kennel.images.augmentation import TrainTransform
from kennel.images.transforms import EvalTransform
from kennel.model.archive import package_versions
from kennel.paths import MlPaths
from kennel.training.calibration import calibrate, with_temperature
from kennel.training.checkpoint import CheckpointStore
from kennel.training.data import describe_dataset, read_dataset
from kennel.training.device import choose_device, describe_device
from kennel.training.distributed import World, joined, share_batch_norm
from kennel.training.evaluation import EvalInputs, predict
from kennel.training.features import eval_features, train_features
from kennel.training.fit import Fitting, TrainInputs
from kennel.training.loader import EvalPictures, TrainPictures, reader_count
from kennel.training.network import Start, build_start
from kennel.training.results import Outcome, write_results
from kennel.training.shared_features import SharedFeatures, shared_features, state_digest
from kennel.training.stopping import Stopped, StopRequest
from kennel.training.watching import Watch, watching


def run_job(settings: Hyperparameters, paths: MlPaths, stop: StopRequest) -> None:
    """Trains on the pictures in the job's folder, and leaves an archive and results there.

    Raises Stopped if a signal came: a checkpoint is then written, and the archive is the best epoch so far, if one has
    ended. Raises KennelError for everything a person can mend.
    """
    with joined(World.from_environ(os.environ)) as world:
        if not world.is_alone:
            print(f"rank={world.rank} of={world.size} host={_host_name()}", flush=True)
        with world.quiet(), watching(settings, paths, world) as watch:
            _run_together(settings, paths, stop, world, watch)


def _run_together(settings: Hyperparameters, paths: MlPaths, stop: StopRequest, world: World, watch: Watch) -> None:
    device = choose_device(world.local_rank)
    print("settings", *(f"{name}={value}" for name, value in settings.to_mapping().items()), flush=True)
    print(f"{describe_device(device)} readers={reader_count()}", flush=True)
    if not world.is_alone:
        check_distribution(paths)
    dataset = read_dataset(paths.channels(), settings)
    digest = dataset.digest()
    print(describe_dataset(dataset, digest), flush=True)
    world.check(stop)
    check_same_data(world, describe_dataset(dataset, digest))
    classes = len(dataset.classes)
    start = build_start(settings, classes=classes, channels=paths.channels(), device=device)
    agreed = {**_that_matter(settings), "data-digest": digest, "weights-sha256": start.weights_sha256}
    check_same_settings(world, agreed)
    world.align(start.model.state_dict().values())
    share_batch_norm(start.model, world, device)
    store = CheckpointStore(paths.checkpoints_dir, agreed)
    fitting = Fitting(start.model, settings, classes=classes, pretrained=start.is_pretrained, world=world)
    fitting.resume(store)
    shared = shared_features(os.environ, _facts_of_features(start, settings, digest), world)
    job = _Job(paths, settings, dataset, digest, fitting, stop, world, watch, shared)
    try:
        if not fitting.progress.is_finished:
            job.fit(store, start)
        job.finish(is_tested=bool(dataset.splits["test"]))
    except Stopped:
        if fitting.best:
            job.finish(is_tested=False)
        else:
            print("stopped before the first epoch ended: there is no model yet", flush=True)
        world.wait()  # the leader writes
        raise
    world.wait()


def _that_matter(settings: Hyperparameters) -> dict[str, object]:
    """What weights depend on: a training goes on from its checkpoint, watched or not."""
    return {name: value for name, value in settings.to_mapping().items() if name != "debug"}


def _facts_of_features(start: Start, settings: Hyperparameters, data_digest: str) -> dict[str, object]:
    """What changes the features of every picture; without a frozen backbone there are none."""
    backbone = start.model.backbone
    if not backbone.is_frozen:
        return {}
    return {
        "data": data_digest,
        "weights": start.weights_sha256 or state_digest(backbone.state_dict()),
        "backbone": settings.backbone,
        "transform": EvalTransform.for_size(settings.image_size).to_json(),
        "device": next(backbone.parameters()).device.type,
        "versions": package_versions(),
    }


def check_distribution(paths: MlPaths) -> None:
    """Raises DataError for a channel of which each host was given other files."""
    config = paths.input_config_dir / "inputdataconfig.json"
    channels = (json.loads(config.read_text()) or {}) if config.exists() else {}
    for name, channel in channels.items():
        if (channel or {}).get("S3DistributionType") == "ShardedByS3Key":
            raise DataError(
                f"Channel '{name}' is ShardedByS3Key: each host has a part of the pictures only. Every host needs all "
                f"of them, and takes its share of each batch itself. Use S3DataDistributionType FullyReplicated."
            )


def check_same_data(world: World, description: str) -> None:
    """Raises DataError, at every rank, if one of them has other pictures; the message names its host."""
    texts = [json.loads(text) for text in world.texts(json.dumps([_host_name(), description]))]
    for host, found in texts:
        if found != texts[0][1]:
            raise DataError(
                f"Host {host} has other pictures than {texts[0][0]}: '{found}' and '{texts[0][1]}'. Every host needs "
                f"all of them: use S3DataDistributionType FullyReplicated, and change nothing while a job starts."
            )


def check_same_settings(world: World, agreed: Mapping[str, object]) -> None:
    """Raises ContractError, at every rank, if one of them has other settings; the message names its host."""
    texts = [json.loads(text) for text in world.texts(json.dumps([_host_name(), agreed]))]
    for host, found in texts:
        differing = [name for name in agreed if found.get(name) != texts[0][1].get(name)]
        if differing:
            raise ContractError(
                f"Host {host} trains with other settings than {texts[0][0]} (differing: {', '.join(differing)}). "
                f"Give every host the same hyperparameters and weights."
            )


def _host_name() -> str:
    return os.environ.get("SM_CURRENT_HOST") or os.uname().nodename


@dataclass(frozen=True)
class _Job:
    """What the stages share."""

    paths: MlPaths
    settings: Hyperparameters
    dataset: Dataset
    digest: str
    fitting: Fitting
    stop: StopRequest
    world: World
    watch: Watch
    shared: SharedFeatures

    @property
    def transform(self) -> EvalTransform:
        return EvalTransform.for_size(self.settings.image_size)

    def fit(self, store: CheckpointStore, start: Start) -> None:
        """Trains to the end, watched. Raises as Fitting.run."""
        fitting, watch = self.fitting, self.watch
        with watch.timeline.phase("features" if fitting.model.backbone.is_frozen else "start"):
            train, valid = self.fit_inputs()
        progress = fitting.progress
        first_step = progress.epoch * train.steps + progress.step
        facts = self._facts(start)
        watch.hook_on(fitting.network, Plan(train.steps, valid.steps, first_step, self.world.size, facts))
        try:
            fitting.run(train, valid, store, stop=self.stop, watch=watch)
        finally:
            watch.unhook()  # what comes is results

    def _facts(self, start: Start) -> dict[str, object]:
        """What the tensors' reader is told of this training."""
        settings = self.settings
        return {
            "batch_size": settings.batch_size,
            "epochs": settings.epochs,
            "backbone": settings.backbone,
            "is_pretrained": start.is_pretrained,
            "trainable": settings.trainable,
            "classes": [each.folder for each in self.dataset.classes],
            "uses_features": self.fitting.model.backbone.is_frozen,
        }

    def fit_inputs(self) -> tuple[TrainInputs, EvalInputs]:
        """What is trained and validated on. Features take a while and are said to have been computed."""
        started = time.monotonic()
        train, valid = self.train_inputs(), self.eval_inputs("valid")
        if self.fitting.model.backbone.is_frozen:
            self._tell_features(len(train) * self.settings.views + len(valid), started)
        return train, valid

    def _tell_features(self, pictures: int, started: float) -> None:
        took_s = time.monotonic() - started
        print(f"features pictures={pictures} took_s={took_s:.1f} shared={self.shared.outcome}", flush=True)

    def train_inputs(self) -> TrainInputs:
        """Augmented pictures; their features, where the backbone is frozen."""
        settings, backbone = self.settings, self.fitting.model.backbone
        pictures = TrainPictures(
            self.dataset.splits["train"],
            TrainTransform(self.transform),
            settings.batch_size,
            settings.seed,
            reader_count(),
            self.world,
        )
        if not backbone.is_frozen:
            return pictures
        return train_features(
            backbone,
            pictures,
            views=settings.views,
            precision=settings.precision,
            stop=self.stop,
            timeline=self.watch.timeline,
            shared=self.shared,
        )

    def eval_inputs(self, split: str) -> EvalInputs:
        """Pictures without augmentation; their features, where the backbone is frozen."""
        pictures = EvalPictures(self.dataset.splits[split], self.transform, reader_count(), self.world)
        backbone = self.fitting.model.backbone
        if not backbone.is_frozen:
            return pictures
        return eval_features(
            backbone, pictures, name=split, stop=self.stop, timeline=self.watch.timeline, shared=self.shared
        )

    def finish(self, *, is_tested: bool) -> None:
        """Results and archive of the best epoch. Raises Stopped if a signal comes while the test images are read."""
        with self.watch.timeline.phase("results"):
            self._write_results(is_tested=is_tested)

    def _write_results(self, *, is_tested: bool) -> None:
        fitting = self.fitting
        fitting.load_best()
        targets = EvalPictures(self.dataset.splits["valid"], self.transform, 1).targets
        calibration = calibrate(fitting.best_probabilities, targets)
        temperature = calibration.temperature
        probabilities: dict[str, Tensor] = {"valid": with_temperature(fitting.best_probabilities, temperature).float()}
        if is_tested:
            started = time.monotonic()
            inputs = self.eval_inputs("test")
            if self.shared.folder:
                self._tell_features(len(inputs), started)
            probabilities["test"] = predict(
                fitting.network, inputs, temperature=temperature, name="test", stop=self.stop, world=self.world
            )
        if not self.world.is_leader:
            return
        progress = fitting.progress
        outcome = Outcome(
            fitting.model, self.transform, calibration, probabilities, progress.history, progress.best_epoch
        )
        write_results(self.paths, outcome, self.dataset, self.settings, digest=self.digest)
