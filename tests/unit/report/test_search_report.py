import json
import re
from pathlib import Path
from typing import Any

import pytest

from kennel.errors import ContractError, UserError
from kennel.report import command
from kennel.report.search_page import write_search_report
from kennel.report.search_record import read_search
from made_search import NAME, Json, made_trial, made_trials, make_search


def content_of(runs: Path, trials: list[Json] | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    folder = make_search(runs, trials, **changes)
    write_search_report(read_search(folder), output=folder / "report.html")
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


def test_the_best_is_the_least_and_ready_to_paste(tmp_path: Path) -> None:
    trials = made_trials()
    content = content_of(tmp_path, trials)
    best = min((each for each in trials if each["objective"] is not None), key=lambda each: each["objective"])
    assert content["best"]["name"] == best["TrainingJobName"]
    assert content["best"]["command"] == f"scripts/train.sh --data '/photos/my dogs' --best-of {NAME}"
    assert content["best"]["assignments"].startswith(f"-p lr={best['parameters']['lr']} -p views=")
    assert "-p optimizer=" in content["best"]["assignments"]
    assert '"' not in content["best"]["assignments"]
    assert [each["is_best"] for each in content["trials"]].count(True) == 1


def test_the_best_of_what_is_maximized_is_the_greatest(tmp_path: Path) -> None:
    folder = make_search(tmp_path)
    record = json.loads((folder / "tuning.json").read_text())
    del record["description"]["BestTrainingJob"]
    config = record["description"]["HyperParameterTuningJobConfig"]
    config["HyperParameterTuningJobObjective"] = {"Type": "Maximize", "MetricName": "validation:accuracy"}
    (folder / "tuning.json").write_text(json.dumps(record))
    content = write_search_report(read_search(folder), output=folder / "report.html")
    values = [each["objective"] for each in content["trials"] if each["outcome"] == "completed"]
    assert content["best"]["objective"] == max(values)
    so_far = [each["best_so_far"] for each in content["trials"]]
    assert so_far == sorted(so_far)


def test_values_are_numbers_where_they_are_and_words_lose_their_quotes(tmp_path: Path) -> None:
    content = content_of(tmp_path)
    assert [each["name"] for each in content["parameters"]] == ["lr", "views", "batch-size", "optimizer"]
    assert content["trials"][0]["values"][1:] == [2, 32, "adamw"]
    assert content["parameters"][0]["is_log"] is True
    assert content["statics"] == {"epochs": "4"}


def test_what_failed_or_was_stopped_is_counted_and_told(tmp_path: Path) -> None:
    content = content_of(tmp_path)
    assert content["counts"] == {
        **{"trainings": 12, "parents": 0, "completed": 10, "stopped_early": 1},
        **{"stopped": 0, "failed": 1, "interrupted": 0, "without_objective": 0},
    }
    assert content["advice"][0]["title"] == "1 of 12 trainings gave nothing"
    assert "AlgorithmError" in content["advice"][0]["evidence"][0]
    assert content["times"]["duration_s"] == 80


def test_links_lead_to_the_files_that_are_there(tmp_path: Path) -> None:
    folder = make_search(tmp_path)
    first = made_trial(1)["TrainingJobName"]
    (tmp_path / first / "report.html").write_text("x")
    output = tmp_path / "elsewhere" / "page.html"
    content = write_search_report(read_search(folder), output=output)
    assert content["trials"][0]["log"] == f"../{first}/log.txt"
    assert (output.parent / content["trials"][0]["log"]).is_file()
    assert content["trials"][0]["report"] == f"../{first}/report.html"
    assert content["trials"][1]["report"] is None


def test_a_parents_trainings_count_for_the_best_and_not_as_own(tmp_path: Path) -> None:
    trials = [made_trial(1, objective=0.1, is_parents=True), *(made_trial(number) for number in range(2, 6))]
    content = content_of(tmp_path, trials)
    assert content["counts"]["parents"] == 1
    assert content["counts"]["trainings"] == 4
    assert content["best"]["is_parents"] is True


def test_a_training_that_the_service_was_killed_under_is_no_failure(tmp_path: Path) -> None:
    content = content_of(tmp_path, [made_trial(1, status="Failed", is_interrupted=True), made_trial(2)])
    assert content["trials"][0]["outcome"] == "interrupted"
    assert (content["counts"]["failed"], content["counts"]["interrupted"]) == (0, 1)


def test_the_best_is_the_one_that_sagemaker_names(tmp_path: Path) -> None:
    """Of two that are equal, and where a training job was deleted."""
    second = made_trial(2)["TrainingJobName"]
    named = {"BestTrainingJob": {"TrainingJobName": second}}
    assert (
        content_of(tmp_path, [made_trial(1, objective=0.5), made_trial(2, objective=0.5)], **named)["best"]["name"]
        == second
    )


def test_a_stopped_training_is_the_best_only_where_none_completed(tmp_path: Path) -> None:
    stopped, completed = made_trial(1, status="Stopped", objective=0.1), made_trial(2, objective=0.5)
    named: dict[str, Any] = {"BestTrainingJob": {}}
    found = content_of(tmp_path / "both", [stopped, completed], **named)
    assert found["best"]["name"] == completed["TrainingJobName"]
    assert [each["best_so_far"] for each in found["trials"]] == [None, 0.5]
    assert content_of(tmp_path / "one", [stopped], **named)["best"]["name"] == stopped["TrainingJobName"]


def test_several_kinds_of_trainings_have_all_their_ranges(tmp_path: Path) -> None:
    folder = make_search(tmp_path)
    record = json.loads((folder / "tuning.json").read_text())
    description = record["description"]
    ranges = description["HyperParameterTuningJobConfig"].pop("ParameterRanges")
    momentum = {"ContinuousParameterRanges": [{"Name": "momentum", "MinValue": "0", "MaxValue": "0.9"}]}
    first = {**description.pop("TrainingJobDefinition"), "HyperParameterRanges": ranges}
    description["TrainingJobDefinitions"] = [first, {"HyperParameterRanges": momentum}]
    (folder / "tuning.json").write_text(json.dumps(record))
    content = write_search_report(read_search(folder), output=folder / "report.html")
    assert [each["name"] for each in content["parameters"]] == ["lr", "views", "batch-size", "optimizer", "momentum"]
    assert content["trials"][0]["values"][4] is None


def test_a_completed_training_without_the_metric_is_told_apart(tmp_path: Path) -> None:
    lost = made_trial(1, reason="no line had it")
    lost.update(objective=None, objective_status="Failed")
    content = content_of(tmp_path, [lost, made_trial(2)])
    assert content["trials"][0]["outcome"] == "no objective"
    assert content["counts"]["without_objective"] == 1


@pytest.mark.parametrize(
    ("trials", "title"),
    [([], "No training was started"), ([made_trial(1, status="Failed")], "No training has ended with an objective")],
    ids=["empty", "failed"],
)
def test_a_search_that_found_nothing_has_a_page_that_says_why(tmp_path: Path, trials: list[Json], title: str) -> None:
    content = content_of(tmp_path, trials, status="Failed", FailureReason="All training jobs <failed>.")
    assert content["best"] is None
    assert content["advice"][0]["title"] == title
    page = (tmp_path / NAME / "report.html").read_text()
    assert "All training jobs &lt;failed&gt;." in page
    assert page.count("<figure") == 0


@pytest.mark.parametrize(("status", "title"), [("InProgress", "has only begun"), ("Stopped", "was stopped before")])
def test_a_search_without_results_yet_is_told_apart_from_a_failed_one(tmp_path: Path, status: str, title: str) -> None:
    content = content_of(tmp_path, [made_trial(1, status="Stopped")], status=status)
    assert title in content["advice"][0]["title"]
    assert content["advice"][0]["severity"] == "note"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = make_search(tmp_path)
    (folder / "trials.json").write_text('[{"number": 1')
    content = write_search_report(read_search(folder), output=folder / "report.html")
    assert content["trials"] == []
    assert "trials.json is no JSON" in content["problems"][0]


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    evil = "</script><b onload='x'>"
    trials = [made_trial(number, reason=evil) for number in range(1, 10)]
    for trial in trials:
        trial["parameters"]["optimizer"] = json.dumps(evil)
    content = content_of(tmp_path, trials)
    page = (tmp_path / NAME / "report.html").read_text()
    assert content["trials"][0]["values"][3] == evil
    assert evil not in page
    assert len(re.findall(r"</script>", page)) == 3


def test_kennel_report_knows_a_tuning_job_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_search(tmp_path)
    page = command.run(NAME, runs=tmp_path, output=None, data=None, is_opened=False)
    assert page == folder / "report.html"
    said = capsys.readouterr().out
    assert said.startswith("1. 1 of 12 trainings gave nothing: ")
    assert f"report: {page}" in said
    assert command.run(str(folder), runs=tmp_path / "no", output=tmp_path / "p.html", data=None, is_opened=False)


def test_kennel_report_of_a_search_refuses_what_it_has_no_use_for(tmp_path: Path) -> None:
    folder = make_search(tmp_path)
    with pytest.raises(UserError, match="is a tuning job. Leave it out"):
        command.run(NAME, runs=tmp_path, output=None, data=tmp_path, is_opened=False)
    with pytest.raises(UserError, match="is no .html file"):
        command.run(NAME, runs=tmp_path, output=tmp_path / "x.txt", data=None, is_opened=False)
    (folder / "tuning.json").write_text('{"description": {"HyperParameterTuningJobConfig": {"ParameterRanges": 3}}}')
    with pytest.raises(ContractError, match="another form"):
        command.run(NAME, runs=tmp_path, output=None, data=None, is_opened=False)
