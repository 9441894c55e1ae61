"""A user's own training script, whose data loader sleeps before every batch."""

import sys
import time
from collections.abc import Generator

import train
from kennel.training.features import TrainFeatures
from kennel.training.loader import Batch

read = TrainFeatures.batches


def sleepy(features: TrainFeatures, epoch: int, first_step: int) -> Generator[Batch, None, None]:
    for batch in read(features, epoch, first_step):
        time.sleep(0.1)
        yield batch


if __name__ == "__main__":
    TrainFeatures.batches = sleepy
    sys.exit(train.main(sys.argv[1:]))
