"""A whole training, in the order it runs: data, network, fit, results. `train.py` is its `main`."""

import time
from dataclasses import dataclass

from torch import Tensor

from kennel.dataset.folders import Dataset
from kennel.hyperparameters import Hyperparameters
from kennel.images.augmentation import TrainTransform
from kennel.images.transforms import EvalTransform
from kennel.paths import MlPaths
from kennel.training.calibration import calibrate, with_temperature
from kennel.training.checkpoint import CheckpointStore
from kennel.training.data import describe_dataset, read_dataset
from kennel.training.device import choose_device, describe_device
from kennel.training.evaluation import EvalInputs, predict
from kennel.training.features import eval_features, train_features
from kennel.training.fit import Fitting, TrainInputs
from kennel.training.loader import EvalPictures, TrainPictures, reader_count
from kennel.training.network import build_start
from kennel.training.results import Outcome, write_results
from kennel.training.stopping import Stopped, StopRequest


def run_job(settings: Hyperparameters, paths: MlPaths, stop: StopRequest) -> None:
    """Trains on the pictures in the job's folder, and leaves an archive and results there.

    Raises Stopped if a signal came: a checkpoint is then written, and the archive is the best epoch so far, if one has
    ended. Raises KennelError for everything a person can mend.
    """
    device = choose_device()
    print("settings", *(f"{name}={value}" for name, value in settings.to_mapping().items()), flush=True)
    print(f"{describe_device(device)} readers={reader_count()}", flush=True)
    dataset = read_dataset(paths.channels(), settings)
    digest = dataset.digest()
    print(describe_dataset(dataset, digest), flush=True)
    stop.check()
    classes = len(dataset.classes)
    start = build_start(settings, classes=classes, channels=paths.channels(), device=device)
    agreed = {**settings.to_mapping(), "data-digest": digest, "weights-sha256": start.weights_sha256}
    store = CheckpointStore(paths.checkpoints_dir, agreed)
    fitting = Fitting(start.model, settings, classes=classes, pretrained=start.is_pretrained)
    fitting.resume(store)
    job = _Job(paths, settings, dataset, digest, fitting, stop)
    try:
        if not fitting.progress.is_finished:
            fitting.run(*job.fit_inputs(), store, stop=stop)
        job.finish(is_tested=bool(dataset.splits["test"]))
    except Stopped:
        if fitting.best:
            job.finish(is_tested=False)
        else:
            print("stopped before the first epoch ended: there is no model yet", flush=True)
        raise


@dataclass(frozen=True)
class _Job:
    """What the stages share."""

    paths: MlPaths
    settings: Hyperparameters
    dataset: Dataset
    digest: str
    fitting: Fitting
    stop: StopRequest

    @property
    def transform(self) -> EvalTransform:
        return EvalTransform.for_size(self.settings.image_size)

    def fit_inputs(self) -> tuple[TrainInputs, EvalInputs]:
        """What is trained and validated on. Features take a while and are said to have been computed."""
        started = time.monotonic()
        train, valid = self.train_inputs(), self.eval_inputs("valid")
        if self.fitting.model.backbone.is_frozen:
            pictures = len(train) * self.settings.views + len(valid)
            print(f"features pictures={pictures} took_s={time.monotonic() - started:.1f}", flush=True)
        return train, valid

    def train_inputs(self) -> TrainInputs:
        """Augmented pictures; their features, where the backbone is frozen."""
        settings, backbone = self.settings, self.fitting.model.backbone
        pictures = TrainPictures(
            self.dataset.splits["train"],
            TrainTransform(self.transform),
            settings.batch_size,
            settings.seed,
            reader_count(),
        )
        if not backbone.is_frozen:
            return pictures
        return train_features(backbone, pictures, views=settings.views, precision=settings.precision, stop=self.stop)

    def eval_inputs(self, split: str) -> EvalInputs:
        """Pictures without augmentation; their features, where the backbone is frozen."""
        pictures = EvalPictures(self.dataset.splits[split], self.transform, reader_count())
        backbone = self.fitting.model.backbone
        return eval_features(backbone, pictures, name=split, stop=self.stop) if backbone.is_frozen else pictures

    def finish(self, *, is_tested: bool) -> None:
        """Results and archive of the best epoch. Raises Stopped if a signal comes while the test images are read."""
        fitting = self.fitting
        fitting.load_best()
        targets = EvalPictures(self.dataset.splits["valid"], self.transform, 1).targets
        calibration = calibrate(fitting.best_probabilities, targets)
        temperature = calibration.temperature
        probabilities: dict[str, Tensor] = {"valid": with_temperature(fitting.best_probabilities, temperature).float()}
        if is_tested:
            inputs = self.eval_inputs("test")
            probabilities["test"] = predict(
                fitting.network, inputs, temperature=temperature, name="test", stop=self.stop
            )
        progress = fitting.progress
        outcome = Outcome(
            fitting.model, self.transform, calibration, probabilities, progress.history, progress.best_epoch
        )
        write_results(self.paths, outcome, self.dataset, self.settings, digest=self.digest)
