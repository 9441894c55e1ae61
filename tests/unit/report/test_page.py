import dataclasses
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest

from kennel.errors import ContractError, UserError
from kennel.report import command
from kennel.report.advice import Advice
from kennel.report.content import build_content
from kennel.report.page import look_up, show_number, write_report
from kennel.report.record import read_run
from made_run import make_run

LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


class Page(html.parser.HTMLParser):
    """What a browser would load, the elements by name, and the text outside scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self._inside = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag
        self.loaded += [value or "" for key, value in attrs if key in LOADING]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


def report(folder: Path, advice: list[Advice] | None = None, **options: Any) -> tuple[Page, dict[str, Any]]:  # noqa: ANN401
    output = folder / "report.html"
    write_report(read_run(folder), advice or [], output=output, **options)
    return Page(output), json.loads((folder / "report.json").read_text())


def test_the_page_loads_nothing_but_itself(tmp_path: Path) -> None:
    page, _ = report(make_run(tmp_path / "run", pictures=tmp_path / "pictures"))
    assert all(each.startswith(("data:", "#")) for each in page.loaded), page.loaded
    style = (tmp_path / "run" / "report.html").read_text().split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "link" not in [tag for tag in page.tags if tag == "script"]


def test_ids_are_unique_and_pictures_have_alternative_texts(tmp_path: Path) -> None:
    page, _ = report(make_run(tmp_path / "run", pictures=tmp_path / "pictures"))
    assert len(page.ids) == len(set(page.ids))
    assert len(page.images) > 20
    assert all(image["alt"] for image in page.images)


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('name')</script>"
    folder = make_run(tmp_path / "run", classes=(f"001.{evil}", "002.B", f"003.</script>{evil}"))
    rules = folder / "rules" / "Evil.json"
    finding = {"step": 1, "tensor": evil, "message": evil, "value": evil}
    rules.write_text(json.dumps({"RuleName": evil, "RuleEvaluationStatus": "IssuesFound", "findings": [finding]}))
    advice = Advice(evil, evil, evil, [evil], "fault", evil)
    page, content = report(folder, [advice])
    assert page.tags.count("script") == 3  # the charts, Vega, and the page's own
    assert page.text.count(evil) > 5
    assert content["verdict"][0]["title"] == evil


def test_the_verdict_comes_first_and_faults_before_the_rest(tmp_path: Path) -> None:
    advice = [Advice("Later", "x", "", severity="note"), Advice("First", "y", "", severity="fault")]
    page, content = report(make_run(tmp_path / "run"), advice)
    assert [each["title"] for each in content["verdict"]] == ["First", "Later"]
    assert page.text.index("First") < page.text.index("Of 5 epochs") < page.text.index("Overfit")


def test_a_run_without_debugging_says_what_debugging_would_have_shown(tmp_path: Path) -> None:
    page, content = report(make_run(tmp_path / "run", is_debugged=False))
    assert set(content["missing"]) == {"rules", "time", "system", "parts"}
    assert page.text.count("Train with --debug") == 3


def test_tensors_without_rules_name_the_command_that_lets_rules_look(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path / "own", is_debugged=False))
    saved: Any = object()  # a trial; only whether there is one counts
    content = build_content(dataclasses.replace(record, trial=saved), [])
    assert f"kennel debug own --save {tmp_path / 'own'}/rules" in content["missing"]["rules"]
    content = build_content(dataclasses.replace(record, trial=saved, source="s3://bucket/own"), [])
    assert "kennel debug, on its debug-output" in content["missing"]["rules"]


def test_a_failed_run_says_first_why(tmp_path: Path) -> None:
    job = {
        "TrainingJobName": "bad",
        "TrainingJobStatus": "Failed",
        "FailureReason": "Out of memory. Try a smaller batch.",
    }
    (tmp_path / "job.json").write_text(json.dumps({"description": job}))
    (tmp_path / "log.txt").write_text("device=cpu\nepoch=1/9 train_loss=2.5 valid_loss=nan\nerror: Out of memory\n")
    page, content = report(tmp_path)
    assert page.ids.index("failure") < page.ids.index("verdict")
    assert "Out of memory. Try a smaller batch." in page.text
    assert content["log_end"][-1] == "error: Out of memory"
    assert content["learning"]["epochs"][0]["valid_loss"] == "NaN"
    assert "the training failed before" in content["missing"]["answers"]


def test_a_stopped_run_is_shown_as_far_as_it_came(tmp_path: Path) -> None:
    job = {"TrainingJobName": "cut", "TrainingJobStatus": "Stopped"}
    (tmp_path / "job.json").write_text(json.dumps({"description": job}))
    (tmp_path / "log.txt").write_text("epoch=1/9 train_loss=2.5 valid_loss=2.4\n")
    page, content = report(tmp_path)
    assert "no reason was left" in page.text
    assert content["learning"]["kept_epoch"] == 1


def test_missing_pictures_leave_their_path_and_the_remedy(tmp_path: Path) -> None:
    page, content = report(make_run(tmp_path / "run"))
    assert page.images == []
    assert "--data DIR" in page.text
    assert content["answers"]["worst"][0]["path"] in page.text


def test_the_pictures_folder_can_be_named(tmp_path: Path) -> None:
    make_run(tmp_path / "other", pictures=tmp_path / "pictures")
    page, _ = report(make_run(tmp_path / "run"), data=tmp_path / "pictures")
    assert page.images


def test_133_classes_with_their_pictures_stay_under_5_mb(tmp_path: Path) -> None:
    names = [f"{number:03}.Some_breed_of_dog_{number}" for number in range(1, 134)]
    folder = make_run(tmp_path / "run", classes=names, images=836, pictures=tmp_path / "pictures")
    page, content = report(folder)
    assert (folder / "report.html").stat().st_size < 5_000_000
    assert len(content["classes"]) == 133
    assert len(page.images) > 60


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (0.7949, "percent", "79.5\u00a0%"),
        (0.00012345, "number", "0.0001234"),
        (1234567.8, "number", "1,234,568"),
        (1.5e-7, "number", "1.500e-07"),
        (0, "number", "0"),
        (125.4, "duration", "2 min 5 s"),
        (7505, "duration", "2 h 5 min"),
        (16.2, "duration", "16 s"),
        ("NaN", "number", "NaN"),
        (None, "number", "–"),
    ],
)
def test_numbers_are_shown_with_their_exact_value(value: object, kind: str, shown: str) -> None:
    markup = str(show_number({"a": [value]}, "/a/0", kind))
    assert re.sub("<.*?>", "", markup) == shown
    assert value is None or f'value="{value}"' in markup


def test_a_pointer_leads_to_members_and_items() -> None:
    assert look_up({"a": [{"b": 1}]}, "/a/0/b") == 1
    assert look_up({"a": {}}, "/a/b") is None


def test_the_command_writes_both_files_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs" / "first")
    page = command.run("first", runs=tmp_path / "runs", output=None, data=None, is_opened=False)
    assert page == tmp_path / "runs" / "first" / "report.html"
    assert page.with_suffix(".json").exists()
    assert str(page) in capsys.readouterr().out


def test_the_command_writes_where_it_is_told(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "first")
    command.run("first", runs=tmp_path / "runs", output=tmp_path / "new" / "look.html", data=None, is_opened=False)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"look.html", "look.json"}
    assert "look.json" in Page(tmp_path / "new" / "look.html").text


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("ml/output/data/evaluation.json", '{"classes": 5}'),
        ("ml/output/data/predictions-test.jsonl", "[1, 2]\n"),
        ("ml/output/profiler/kennel-timeline.json", '{"phases": [], "epochs": [1]}'),
        ("rules/Odd.json", '{"RuleName": "Odd", "findings": 5}'),
    ],
)
def test_files_of_another_form_end_with_a_sentence(tmp_path: Path, file: str, content: str) -> None:
    (make_run(tmp_path / "runs" / "first") / file).write_text(content)
    with pytest.raises(ContractError, match="'first' holds files of another form"):
        command.run("first", runs=tmp_path / "runs", output=None, data=None, is_opened=False)


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "first")
    options: dict[str, Any] = {"runs": tmp_path / "runs", "is_opened": False}
    with pytest.raises(UserError, match="is no folder"):
        command.run("first", output=None, data=tmp_path / "none", **options)
    with pytest.raises(UserError, match="is no .html file"):
        command.run("first", output=tmp_path / "page.pdf", data=None, **options)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        command.run("first", output=tmp_path / "file" / "page.html", data=None, **options)
