# ruff: noqa
"""A course project's training script: fine-tunes a torchvision network, with SageMaker Debugger's hook."""

import argparse
import logging
import os
import sys

import smdebug.pytorch as smd
import torch
import torch.nn as nn
import torch.optim as optim
import torchvision.models as models
import torchvision.transforms as transforms
from PIL import ImageFile
from torchvision.datasets import ImageFolder

ImageFile.LOAD_TRUNCATED_IMAGES = True
logger = logging.getLogger(__name__)
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler(sys.stdout))


def test(model, test_loader, criterion, device, hook):
    model.eval()
    hook.set_mode(smd.modes.EVAL)
    running_loss = 0
    running_corrects = 0
    with torch.no_grad():
        for inputs, labels in test_loader:
            inputs, labels = inputs.to(device), labels.to(device)
            outputs = model(inputs)
            loss = criterion(outputs, labels)
            _, preds = torch.max(outputs, 1)
            running_loss += loss.item() * inputs.size(0)
            running_corrects += torch.sum(preds == labels.data).item()
    total = len(test_loader.dataset)
    logger.info(
        "\nTest set: Average loss: {:.4f}, Accuracy: {}/{} ({:.0f}%)\n".format(
            running_loss / total, running_corrects, total, 100.0 * running_corrects / total
        )
    )


def train(model, train_loader, criterion, optimizer, epoch, device, hook):
    model.train()
    hook.set_mode(smd.modes.TRAIN)
    for batch_idx, (inputs, labels) in enumerate(train_loader):
        inputs, labels = inputs.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
        print(
            "Train Epoch: {} [{}/{}] Loss: {:.6f}".format(
                epoch, batch_idx * len(inputs), len(train_loader.dataset), loss.item()
            )
        )


def net(num_classes):
    model = models.resnet18(weights=None)
    for param in model.parameters():
        param.requires_grad = False
    model.fc = nn.Sequential(nn.Linear(model.fc.in_features, 64), nn.ReLU(), nn.Linear(64, num_classes))
    return model


def create_data_loaders(data, batch_size):
    transform = transforms.Compose([transforms.Resize((48, 48)), transforms.ToTensor()])
    train_data = ImageFolder(os.path.join(data, "train"), transform=transform)
    test_data = ImageFolder(os.path.join(data, "test"), transform=transform)
    return (
        torch.utils.data.DataLoader(train_data, batch_size=batch_size, shuffle=True),
        torch.utils.data.DataLoader(test_data, batch_size=batch_size),
        len(train_data.classes),
    )


def main(args):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_loader, test_loader, num_classes = create_data_loaders(args.data, args.batch_size)
    model = net(num_classes).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.fc.parameters(), lr=args.learning_rate)
    hook = smd.Hook.create_from_json_file()
    hook.register_hook(model)
    hook.register_loss(criterion)
    for epoch in range(1, args.epochs + 1):
        train(model, train_loader, criterion, optimizer, epoch, device, hook)
        test(model, test_loader, criterion, device, hook)
    with open(os.path.join(args.output_dir, "done.txt"), "w") as f:
        f.write("trained on {} hosts: {}".format(len(args.hosts), args.current_host))
    torch.save(model.cpu().state_dict(), os.path.join(args.model_dir, "model.pth"))


if __name__ == "__main__":
    import json

    parser = argparse.ArgumentParser()
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--hosts", type=list, default=json.loads(os.environ["SM_HOSTS"]))
    parser.add_argument("--current-host", type=str, default=os.environ["SM_CURRENT_HOST"])
    parser.add_argument("--data", type=str, default=os.environ["SM_CHANNEL_TRAINING"])
    parser.add_argument("--model_dir", type=str, default=os.environ["SM_MODEL_DIR"])
    parser.add_argument("--output_dir", type=str, default=os.environ["SM_OUTPUT_DATA_DIR"])
    parser.add_argument("--num-gpus", type=int, default=os.environ["SM_NUM_GPUS"])
    main(parser.parse_args())
