# ruff: noqa
"""A course project's tuning script, without the network: its loss is lowest for lr 0.01."""

import argparse
import json
import logging
import math
import os
import sys

logger = logging.getLogger(__name__)
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler(sys.stdout))


def main(args):
    images = sum(len(files) for _, _, files in os.walk(args.data_dir))
    logger.info(
        "Hyperparameters are LR: {}, Batch Size: {}, Optimizer: {}".format(args.lr, args.batch_size, args.optimizer)
    )
    for epoch in range(1, args.epochs + 1):
        loss = abs(math.log10(args.lr) + 2) + 1 / epoch
        logger.info("\nTest set: Average loss: {:.4f}, Accuracy: {}/{}\n".format(loss, epoch, images))
    with open(os.path.join(args.model_dir, "model.json"), "w") as file:
        json.dump({"lr": args.lr, "images": images}, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--optimizer", type=str, default="adam", choices=["adam", "sgd momentum"])
    parser.add_argument("--model_dir", type=str, default=os.environ["SM_MODEL_DIR"])
    parser.add_argument("--data_dir", type=str, default=os.environ["SM_CHANNEL_TRAINING"])
    main(parser.parse_args())
