import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from PIL import Image

from kennel.errors import ArchiveError
from kennel.images.decode import decode_image
from kennel.serving.engine import Engine, load_engine
from kennel.serving.engine_choice import ENGINES
from served_archive import CARD, LABELS, golden, picture


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, model_dir: Path) -> Engine:
    """Every engine: whatever computes, these hold."""
    return load_engine(model_dir, name=request.param)


def test_an_engine_has_replayed_its_golden_predictions(engine: Engine) -> None:
    assert (engine.name in ENGINES, engine.golden) == (True, 2)


def test_probabilities_are_those_the_archive_was_written_with(engine: Engine, model_dir: Path) -> None:
    examples = golden(model_dir)
    answer = engine.predict((decode_image(data) for data, _ in examples), top_k=3)
    for prediction, (_, expected) in zip(answer.predictions, examples, strict=True):
        found = {each.label: each.probability for each in prediction.top_k}
        assert [found[label] for label in LABELS] == pytest.approx(expected, abs=1e-6)
        assert prediction.label == LABELS[expected.index(max(expected))]


def test_top_k_is_ordered_and_at_most_all_classes(engine: Engine) -> None:
    image = decode_image(picture())
    for top_k, count in ((1, 1), (2, 2), (3, 3), (1000, 3)):
        (prediction,) = engine.predict([image], top_k=top_k).predictions
        probabilities = [each.probability for each in prediction.top_k]
        assert len(probabilities) == count
        assert probabilities == sorted(probabilities, reverse=True)
        assert (prediction.label, prediction.probability) == (prediction.top_k[0].label, probabilities[0])


def test_many_images_give_the_same_as_one_by_one(engine: Engine) -> None:
    images = [decode_image(picture(colour=colour)) for colour in ("red", "green", "blue", "black", "pink") * 4]
    together = engine.predict(images, top_k=3).predictions
    for image, prediction in zip(images, together, strict=True):
        (alone,) = engine.predict([image], top_k=3).predictions
        assert prediction.label == alone.label
        assert prediction.probability == pytest.approx(alone.probability, abs=1e-5)


def test_only_one_image_is_held_at_full_size(engine: Engine) -> None:
    given: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []

    def decode(data: bytes) -> Image.Image:
        alive.append(sum(each() is not None for each in given))
        image = decode_image(data)
        given.append(weakref.ref(image))
        return image

    engine.predict(map(decode, [picture()] * 4), top_k=1)
    assert alive == [0, 0, 0, 0]


def test_abstain_says_that_the_best_is_below_the_threshold(engine: Engine) -> None:
    (prediction,) = engine.predict([decode_image(picture())], top_k=1).predictions
    assert prediction.probability < CARD.abstain_threshold
    assert prediction.abstain


def test_the_answer_describes_the_model(engine: Engine) -> None:
    assert engine.predict([decode_image(picture())], top_k=1).model == {
        "backbone": "resnet18",
        "classes": 3,
        "format": 1,
        "created": "2026-11-21T08:15:00+00:00",
        "data_digest": "ab" * 32,
    }


def test_torch_runs_with_one_thread(model_dir: Path) -> None:
    load_engine(model_dir, name="torch")
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", ENGINES)
def test_an_archive_that_answers_differently_is_refused(name: str, model_dir: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model_dir, tmp_path / "model")
    card = json.loads((other / "model.json").read_text())
    card["temperature"] = 0.2
    (other / "model.json").write_text(json.dumps(card))
    with pytest.raises(ArchiveError, match="golden"):
        load_engine(other, name=name)


def test_the_environment_chooses_the_engine(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_ENGINE", "onnxruntime")
    assert load_engine(model_dir).name == "onnxruntime"


def test_both_engines_give_the_same_answer(model_dir: Path) -> None:
    answers = [load_engine(model_dir, name=name).predict([decode_image(picture())], top_k=3) for name in ENGINES]
    first, second = (answer.predictions[0].top_k for answer in answers)
    assert answers[0].model == answers[1].model
    assert [each.label for each in first] == [each.label for each in second]
    assert [each.probability for each in first] == pytest.approx([each.probability for each in second], abs=1e-5)
