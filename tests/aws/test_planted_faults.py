"""Each of five faults, planted in a real training on real photos, is the first thing its verdict names; and a training
without a fault is not accused of one."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from kennel.debug.rules import RECOMMENDED
from kennel.launch.debugging import estimator_arguments, recommended
from kennel.launch.jobs import TrainingJob, create_training_job
from kennel.launch.places import Place, open_place
from kennel.local import daemon
from kennel.report.advice import Advice
from kennel.report.record import RunRecord, read_run
from kennel.report.verdict import verdict
from local_service import left_of, wait_until

pytestmark = [pytest.mark.photos, pytest.mark.timeout(600)]

FAULTY = Path(__file__).parent / "scripts" / "faulty"
QUICK = {"image-size": "32", "epochs": "5"}  # enough for a fault that does not hide in the pictures
CLEAR = {"image_size": "96"}
ENDED = ("Completed", "Failed", "Stopped")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A local SageMaker for these trainings."""
    runs = tmp_path_factory.mktemp("faults").resolve() / "runs"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL_SAGEMAKER", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        patch.setenv("KENNEL_RUNS", str(runs))
        for name, value in daemon.environment(daemon.ensure(runs)).items():
            patch.setenv(name, value)
        yield open_place()
        daemon.stop(runs)
    assert not left_of(runs)


def weights(shared: Path) -> str:
    return (shared / "weights" / "resnet18-half.pth").as_uri()


def trained(
    place: Place, name: str, data: Path, shared: Path, **hyperparameters: str
) -> tuple[RunRecord, list[Advice]]:
    """A run of `kennel train --debug`, and its verdict."""
    settings = {**QUICK, **{key.replace("_", "-"): value for key, value in hyperparameters.items()}}
    channels = {"data": data.as_uri(), "weights": weights(shared)}
    create_training_job(TrainingJob(name, channels, settings, debugging=recommended(RECOMMENDED)), place)
    return ended(place, name)


def trained_by(script: str, place: Place, name: str, data: Path, shared: Path) -> tuple[RunRecord, list[Advice]]:
    """The same by a script of the user's own, given to the SDK as such scripts are."""
    from sagemaker.estimator import Estimator
    from sagemaker.inputs import TrainingInput

    estimator = Estimator(
        image_uri=place.train_image,
        role=place.role,
        instance_count=1,
        instance_type=place.instance_type,
        sagemaker_session=place.session,
        entry_point=script,
        source_dir=str(FAULTY),
        hyperparameters=QUICK,
        **estimator_arguments(recommended(RECOMMENDED)),
    )
    channels = {"data": data.as_uri(), "weights": weights(shared)}
    inputs = {channel: TrainingInput(uri, input_mode="File") for channel, uri in channels.items()}
    estimator.fit(inputs, job_name=name, wait=False, logs=False)
    return ended(place, name)


def ended(place: Place, name: str) -> tuple[RunRecord, list[Advice]]:
    def is_over() -> bool:
        described = place.sagemaker.describe_training_job(TrainingJobName=name)
        rules = described.get("DebugRuleEvaluationStatuses", []) + described.get("ProfilerRuleEvaluationStatuses", [])
        is_evaluated = all(rule["RuleEvaluationStatus"] not in ("InProgress", "Stopping") for rule in rules)
        return described["TrainingJobStatus"] in ENDED and bool(rules) and is_evaluated

    wait_until(is_over, deadline_s=300, what=f"the end of {name}")
    run = read_run(Path(os.environ["KENNEL_RUNS"]) / name)
    assert not run.problems
    return run, verdict(run)


def linked(source: Path, target: Path, classes: list[str]) -> None:
    """The pictures of a folder of classes in another one, each in the class of its place in `classes`."""
    for picture, name in zip(sorted(source.glob("*/*.jpg")), classes, strict=True):
        (target / name).mkdir(parents=True, exist_ok=True)
        (target / name / f"{picture.parent.name}-{picture.name}").symlink_to(picture)


def with_other(split: str, data: Path, folder: Path) -> Path:
    """A folder with the data set but for one split, which is still to be made."""
    folder.mkdir()
    for name in {"train", "valid", "test"} - {split}:
        (folder / name).symlink_to(data / name)
    return folder


def test_a_learning_rate_far_too_high_is_named_first(place: Place, shared: Path) -> None:
    _, advice = trained(place, "high", shared / "data" / "dogs20", shared, lr="10")
    assert (advice[0].title, advice[0].severity) == ("The learning rate (10) is far too high", "fault")
    assert "lr=0.003" in advice[0].change


def test_a_loss_that_is_no_number_any_more_is_named_as_the_same(place: Place, shared: Path) -> None:
    """The job fails, with no result: its reason and its tensors are all that the verdict has."""
    run, advice = trained(place, "nan", shared / "data" / "dogs20", shared, lr="10", optimizer="sgd", head="64,64")
    assert run.status == "Failed"
    assert advice[0].title == "The learning rate (10) is far too high"


def test_shuffled_labels_are_named_first(place: Place, shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "dogs20"
    folder = with_other("train", data, tmp_path / "shuffled")
    classes = [picture.parent.name for picture in sorted((data / "train").glob("*/*.jpg"))]
    random.Random(0).shuffle(classes)
    linked(data / "train", folder / "train", classes)
    _, advice = trained(place, "shuffled", folder, shared, **CLEAR)
    assert (advice[0].title, advice[0].severity) == ("The labels do not belong to their pictures", "fault")


def test_a_validation_set_of_another_kind_is_named_first(place: Place, shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "dogs20"
    folder = with_other("valid", data, tmp_path / "inverted")
    for picture in sorted((data / "valid").glob("*/*.jpg")):
        target = folder / "valid" / picture.parent.name / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.invert(Image.open(picture).convert("RGB")).save(target, quality=92)
    _, advice = trained(place, "inverted", folder, shared, **CLEAR)
    title = "The validation pictures are of another kind than the training pictures"
    assert (advice[0].title, advice[0].severity) == (title, "fault")
    assert any("standard deviations" in line for line in advice[0].evidence)


@pytest.mark.parametrize("script", ["rectified.py", "rectified_random.py"])
def test_a_relu_after_the_logits_is_named_first(place: Place, shared: Path, script: str) -> None:
    name = script.removesuffix(".py").replace("_", "-")
    _, advice = trained_by(script, place, name, shared / "data" / "dogs20", shared)
    assert (advice[0].title, advice[0].severity) == ("A ReLU stands after the logits", "fault")


def test_a_data_loader_that_sleeps_is_named_first(place: Place, shared: Path) -> None:
    _, advice = trained_by("sleeping.py", place, "sleeping", shared / "data" / "dogs20", shared)
    assert (advice[0].title, advice[0].severity) == ("The data loader sleeps: training waits for its data", "fault")


def test_a_sound_training_is_not_accused_of_anything(place: Place, shared: Path) -> None:
    """The defaults on real photos: test accuracy 92.5 %, no rule fires."""
    run, advice = trained(place, "sound", shared / "data" / "dogs20", shared, image_size="224", epochs="30")
    assert run.evaluation is not None and run.evaluation["test"]["accuracy"] >= 0.92
    assert [rule["RuleName"] for rule in run.rules if rule["RuleEvaluationStatus"] == "IssuesFound"] == []
    assert [each for each in advice if each.severity == "fault"] == []
    assert any(each.title == "No fault was found" for each in advice)
