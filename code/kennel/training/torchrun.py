"""torchrun, with the exit status of its ranks instead of 1, and without a traceback of its own below their reasons.

python -m kennel.training.torchrun --nproc-per-node 2 --standalone train.py --epochs 3
"""

import sys
from collections.abc import Sequence

from torch.distributed import DistError, run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from kennel.errors import PeerError
from kennel.paths import ml_paths
from kennel.training.failure import report_failure


def main(argv: Sequence[str]) -> int:
    """0, or the status of the rank on this host that failed first; 128 + the signal that ended it."""
    try:
        run.run(run.parse_args(argv))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        return _status(list(error.failures.values()))
    except SignalException as error:
        return 128 + int(error.sigval)
    except DistError as error:
        reason = " ".join(str(error).split())[:300]
        lost = PeerError(f"The hosts of this job did not come together ({reason}). The logs of the others may say why.")
        return report_failure(lost, ml_paths().failure_file)
    return 0


def _status(failures: Sequence[ProcessFailure]) -> int:
    """Status 1 says least: a rank has it too that ended because another one had."""
    first = min(failures, key=lambda failure: (failure.exitcode in (0, 1), failure.timestamp))
    return 128 - first.exitcode if first.exitcode < 0 else first.exitcode or 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
