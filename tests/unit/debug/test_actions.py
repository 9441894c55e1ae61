"""What rules do when they fire: real commands, a real server on loopback, the SDK's own strings."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kennel.debug import actions
from kennel.debug.actions import Action, ActionRunner, read_actions, stops_training
from kennel.errors import UserError

REPORT: dict[str, Any] = {"RuleConfigurationName": "overfit", "RuleEvaluationStatus": "IssuesFound"}


class Server:
    """Takes POSTs and answers with `status`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                server.bodies.append(json.loads(self.rfile.read(length)))
                self.send_response(server.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/hook?token=secret"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def outcomes(*wanted: Action, environ: dict[str, str] | None = None) -> list[str]:
    """What became of these actions of one rule of the job `first`."""
    runner = ActionRunner("first", {"PATH": "/usr/bin:/bin", **(environ or {})})
    runner.fire("overfit", wanted, REPORT)
    runner.close()
    return [outcome["outcome"] for outcome in runner.outcomes("overfit")]


def test_the_sdks_own_strings_are_read() -> None:
    from smdebug_rulesconfig.actions import actions as sdk

    listed = sdk.ActionList(sdk.StopTraining(), sdk.Email("me@example.org"), sdk.SMS("+491701234"))
    listed.update_training_job_prefix_if_not_specified("First-1")
    assert '\\"' in listed.serialize()
    assert read_actions(listed.serialize()) == (
        Action("stoptraining", {"training_job_prefix": "First-1"}),
        Action("email", {"endpoint": "me@example.org"}),
        Action("sms", {"endpoint": "+491701234"}),
    )
    assert read_actions(sdk.StopTraining("one").serialize()) == (
        Action("stoptraining", {"training_job_prefix": "one"}),
    )


def test_plain_json_is_read_too() -> None:
    text = '[{"name": "StopTraining"}, {"name": "command", "parameters": {"command": "true"}}]'
    assert read_actions(text) == (Action("stoptraining", {}), Action("command", {"command": "true"}))
    assert read_actions(None) == read_actions("  ") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stop", "action_json is 'stop', which is no JSON"),
        ("[3]", "has the entry 3, which names no action"),
        ('{"name": "page"}', "names the action 'page', which is not known. Known: StopTraining"),
        ('{"name": "email"}', "lacks 'endpoint'"),
        ('{"name": "command", "command": " "}', "lacks 'command'"),
        ('{"name": "webhook", "url": "file:///etc/passwd"}', "'file:///etc/passwd'. Expected http://"),
    ],
)
def test_an_action_that_cannot_be_done_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_actions(text)
    assert message in str(refusal.value)


def test_stop_training_means_the_job_whose_name_begins_so() -> None:
    assert stops_training((Action("stoptraining", {"training_job_prefix": "FIRST"}),), "first-1")
    assert stops_training((Action("stoptraining", {}),), "first-1")
    assert not stops_training((Action("stoptraining", {"training_job_prefix": "second"}),), "first-1")
    assert not stops_training((Action("email", {"endpoint": "x"}),), "first-1")


def test_a_command_gets_the_report_and_the_names(tmp_path: Path) -> None:
    command = Action(
        "command", {"command": f'echo "$KENNEL_JOB $KENNEL_RULE" > {tmp_path}/names; cat > {tmp_path}/body'}
    )
    assert outcomes(command) == ["done: the command's exit status is 0"]
    assert (tmp_path / "names").read_text() == "first overfit\n"
    assert json.loads((tmp_path / "body").read_text()) == {"TrainingJobName": "first", **REPORT}


def test_a_command_that_fails_says_its_last_words() -> None:
    outcome = outcomes(Action("command", {"command": "echo first >&2; echo no mail here >&2; exit 3"}))
    assert outcome == ["failed: the command's exit status is 3: no mail here"]


def test_a_command_that_reads_nothing_is_no_failure() -> None:
    runner = ActionRunner("first", {"PATH": "/usr/bin:/bin"})
    runner.fire("big", (Action("command", {"command": "true"}),), {"findings": ["x" * 1000] * 1000})
    runner.close()
    assert runner.outcomes("big") == [{"name": "command", "outcome": "done: the command's exit status is 0"}]


def test_a_command_without_end_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "COMMAND_LIMIT_S", 0.5)
    outcome = outcomes(Action("command", {"command": f"sleep 600 & echo $! > {tmp_path}/pid; wait"}))
    assert outcome == ["failed: the command was ended after 0.5 s"]
    state = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_closing_ends_what_is_still_under_way() -> None:
    runner = ActionRunner("first", {"PATH": "/usr/bin:/bin"})
    runner.fire("slow", (Action("command", {"command": "sleep 600"}),), REPORT)
    runner.close(wait_s=0.3)
    assert runner.outcomes("slow")[0]["outcome"].startswith("failed: ")


def test_a_webhook_gets_the_report_and_its_address_stays_secret(server: Server) -> None:
    assert outcomes(Action("webhook", {"url": server.url})) == ["done: 127.0.0.1 answered 200"]
    assert server.bodies == [{"TrainingJobName": "first", **REPORT}]
    server.status = 500
    assert outcomes(Action("webhook", {"url": server.url})) == ["failed: 127.0.0.1 answered 500"]


def test_a_webhook_that_nobody_answers_is_said(server: Server) -> None:
    server.close()
    (outcome,) = outcomes(Action("webhook", {"url": server.url}))
    assert outcome.startswith("failed: 127.0.0.1 did not answer:")
    assert "secret" not in outcome


def test_email_and_sms_go_where_the_environment_says(server: Server, tmp_path: Path) -> None:
    email = Action("email", {"endpoint": "me@example.org"})
    (told,) = outcomes(email)
    assert told == "not sent: nothing here sends it. Set KENNEL_RULE_COMMAND or KENNEL_RULE_WEBHOOK to be told"
    outcomes(email, environ={"KENNEL_RULE_WEBHOOK": server.url})
    assert server.bodies == [{"TrainingJobName": "first", **REPORT}]
    outcomes(email, environ={"KENNEL_RULE_COMMAND": f'echo "$KENNEL_ACTION $KENNEL_ENDPOINT" > {tmp_path}/to'})
    assert (tmp_path / "to").read_text() == "email me@example.org\n"


def test_a_rules_actions_are_done_once(server: Server) -> None:
    runner = ActionRunner("first", {})
    for _ in range(3):
        runner.fire("overfit", (Action("webhook", {"url": server.url}), Action("stoptraining", {})), REPORT)
    runner.close()
    assert len(server.bodies) == 1
    assert [outcome["name"] for outcome in runner.outcomes("overfit")] == ["webhook", "stoptraining"]
    assert runner.outcomes("overfit")[1]["outcome"] == "asked for"
