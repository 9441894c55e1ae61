"""What made the model: it saves the network's state, as course projects do."""

import argparse
import os

import torch

from inference import Net


def model_fn(model_dir):  # noqa: ANN001, ANN201  many serve by the script they train by
    model = Net()
    with open(os.path.join(model_dir, "model.pth"), "rb") as f:
        model.load_state_dict(torch.load(f))
    return model


def main(args):  # noqa: ANN001, ANN201
    torch.manual_seed(args.seed)
    model = Net()
    print("Testing Loss: 0.5")
    torch.save(model.cpu().state_dict(), os.path.join(args.model_dir, "model.pth"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model-dir", type=str, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=str, default=os.environ.get("SM_CHANNEL_TRAIN"))
    main(parser.parse_args())
