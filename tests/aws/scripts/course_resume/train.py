# ruff: noqa
import argparse
import os
import signal
import sys
import time

import torch
from torch import nn
from torchvision import datasets, transforms


def save(state, path):
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
    args, _ = parser.parse_known_args()
    checkpoint = os.path.join(args.checkpoint_dir, "last.pth")
    transform = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
    data = datasets.ImageFolder(os.environ["SM_CHANNEL_TRAIN"], transform)
    test = datasets.ImageFolder(os.environ["SM_CHANNEL_TEST"], transform)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, len(data.classes)))
    start = 0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        start = state["epoch"] + 1
        print("resumed at epoch", start)

    def stop(signum, frame):
        print("told to stop, the last checkpoint is", checkpoint)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for epoch in range(start, args.epochs):
        for images, labels in torch.utils.data.DataLoader(data, batch_size=16, num_workers=1):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            hits = sum(int(model(image[None]).argmax()) == label for image, label in test)
        print("epoch={} loss={:.4f} test_accuracy={:.4f}".format(epoch, loss.item(), hits / len(test)), flush=True)
        save({"model": model.state_dict(), "epoch": epoch}, checkpoint)
        time.sleep(args.pause)
    torch.save(model.state_dict(), os.path.join(os.environ["SM_MODEL_DIR"], "model.pth"))


if __name__ == "__main__":
    main()
