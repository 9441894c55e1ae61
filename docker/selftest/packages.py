"""Run while an image is built: the packages in it satisfy each other, but for what is left out on purpose.

python packages.py UV ENVIRONMENT
"""

import re
import subprocess
import sys

LEFT_OUT = {"triton"}  # see scripts/lock.sh


def complaints(report: str) -> list[str]:
    """The lines of `uv pip check` that name anything else than what is left out."""
    lines = [line for line in report.splitlines() if line.startswith("The package")]
    return [line for line in lines if not LEFT_OUT & set(re.findall(r"requires `([\w.-]+)", line))]


def main() -> None:
    uv, environment = sys.argv[1:]
    done = subprocess.run([uv, "pip", "check", "--python", environment], capture_output=True, text=True)
    print(done.stderr, end="")
    if found := complaints(done.stderr):
        sys.exit("\n".join(["selftest: packages that do not go together:", *found]))
    if not re.search(r"Checked \d+ packages", done.stderr):
        sys.exit("selftest: uv pip check has checked nothing")


if __name__ == "__main__":
    main()
