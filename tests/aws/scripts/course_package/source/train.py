# ruff: noqa
"""A course project's training package: siblings, a shared folder beside it, every kind of hyperparameter."""

import argparse
import json
import os

import torch
from course_utils.metrics import accuracy
from models import SmallNet
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from tqdm import tqdm


def str2bool(text):
    return text.lower() in ("true", "1", "yes")


def loader(folder, args):
    transform = transforms.Compose([transforms.Resize((args.size, args.size)), transforms.ToTensor()])
    return DataLoader(datasets.ImageFolder(folder, transform), batch_size=args.batch_size, shuffle=True)


def main(args):
    torch.manual_seed(args.seed)
    train_loader, valid_loader = loader(args.train, args), loader(args.validation, args)
    model = SmallNet(len(train_loader.dataset.classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    for epoch in range(args.epochs):
        for images, targets in tqdm(train_loader):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = [accuracy(model(images), targets) for images, targets in valid_loader]
        print(f"epoch: {epoch} train_loss: {loss.item():.4f}; valid_accuracy: {sum(scores) / len(scores):.4f};")
    with open(os.path.join(args.model_dir, "model.pth"), "wb") as f:
        torch.save(model.state_dict(), f)
    print("ARGS " + json.dumps({**vars(args), "bool": [args.augment, args.verbose]}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--optimizer", type=str)
    parser.add_argument("--augment", type=str2bool)
    parser.add_argument("--verbose", type=str2bool)
    parser.add_argument("--layers", type=str)
    parser.add_argument("-k", type=int)
    parser.add_argument("--train", type=str, default=os.environ["SM_CHANNEL_TRAIN"])
    parser.add_argument("--validation", type=str, default=os.environ["SM_CHANNEL_VALIDATION"])
    parser.add_argument("--model_dir", type=str, default=os.environ["SM_MODEL_DIR"])
    parser.add_argument("--course", type=str, default=os.environ.get("COURSE"))
    main(parser.parse_args())
