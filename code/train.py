"""What SageMaker's toolkit runs: one training, in the folder that stands for /opt/ml.

    SAGEMAKER_BASE_DIR=ml python code/train.py --epochs 5 --backbone resnet18

A failure leaves its reason in output/failure, for a person, and its own exit status (kennel/errors.py). SIGTERM and
SIGINT end the training after the step it is in, with a checkpoint; started again, it goes on from there.
"""

import os
import sys
from collections.abc import Sequence

from kennel.hyperparameters import resolve_hyperparameters
from kennel.orphans import die_with_parent
from kennel.paths import ml_paths
from kennel.training.elsewhere import TRAIN, run_elsewhere
from kennel.training.failure import report_failure
from kennel.training.stopping import Stopped, StopRequest


def main(argv: Sequence[str], *, is_forked: bool = False) -> int:
    """The exit status: 0, 128 + the signal that stopped it, or 1 to 4 for a failure.

    is_forked: this process was forked from one that has imported everything (kennel.training.nursery).
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun puts each rank out of its own process group
        die_with_parent(os.getppid())
    stop = StopRequest()
    stop.install()  # before torch is imported: that takes seconds, in which a signal may come
    if not is_forked and (status := run_elsewhere(TRAIN, argv, stop)) is not None:
        return status
    paths = ml_paths()
    try:
        settings = resolve_hyperparameters(argv, os.environ, paths.input_config_dir / "hyperparameters.json")
        from kennel.training.job import run_job

        run_job(settings, paths, stop)
    except Stopped as stopped:
        print(f"{stopped}: start the job again to go on", flush=True)
        return stopped.exit_status
    except Exception as error:  # the job's last stand: whatever it is, a person must read of it
        return report_failure(error, paths.failure_file)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # After a stop the process group is not taken down (others may be gone), and its threads may then abort the end
        # of the interpreter: "terminate called without an active exception", status 134 in place of 143.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
