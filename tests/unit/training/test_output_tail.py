"""What is said of somebody's script that failed, from the last of what it printed."""

import subprocess
import sys

import pytest

from kennel.training.output_tail import last_error, script_failure

PRINTED = """epoch 1
Traceback (most recent call last):
  File "/opt/ml/code/train.py", line 12, in <module>
    main()
  File "/opt/ml/code/lib/data.py", line 3, in main
    torch.load(path)
  File "/x/site-packages/torch/serialization.py", line 1400, in load
    with open(f) as file:
         ^^^^^^^
FileNotFoundError: [Errno 2] No such file or directory: 'model.pth'
bye
"""


def test_the_last_tracebacks_error_comes_with_the_line_of_the_users_own_code() -> None:
    earlier = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'x'\n"
    assert last_error(earlier + PRINTED) == (
        "FileNotFoundError: [Errno 2] No such file or directory: 'model.pth' (data.py:3 in main)"
    )


def test_without_a_traceback_the_last_lines_are_given() -> None:
    usage = "usage: train.py [-h]\ntrain.py: error: unrecognized arguments: --lr 0.1\n"
    assert last_error(usage) == usage.strip()
    assert last_error("1%\r50%\r\n\n") == "1%\n50%"
    assert last_error("") == ""


def test_a_traceback_that_was_cut_off_is_no_reason_to_fail() -> None:
    assert "main()" in last_error('Traceback (most recent call last):\n  File "a", line 1, in b\n    main()\n')


def test_the_failure_has_sagemakers_form_and_length() -> None:
    text = script_failure(3, PRINTED, command="python train.py --epochs 1", default="nothing")
    assert text.startswith('ExecuteUserScriptError:\nExitCode 3\nErrorMessage "FileNotFoundError: ')
    assert text.endswith('\nCommand "python train.py --epochs 1"')
    assert len(script_failure(1, "ValueError " * 400, command="x" * 2000, default="")) == 1023
    assert 'ErrorMessage "nothing"' in script_failure(3, "", command="x", default="nothing")


@pytest.mark.parametrize("size", [10, 300_000])
def test_output_is_passed_on_whole_and_its_end_remembered(size: int) -> None:
    code = (
        "import subprocess, sys\n"
        "from kennel.training.output_tail import OutputTail\n"
        "tail = OutputTail()\n"
        f"words = [sys.executable, '-c', 'print(\"x\" * {size} + \"end\")']\n"
        "started = subprocess.Popen(words, stdout=tail.inlet, stderr=tail.inlet)\n"
        "tail.start()\n"
        "started.wait()\n"
        "text = tail.finish()\n"
        "assert text.endswith('xend\\n') and len(text) <= 16384, len(text)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "x" * size + "end\n"
