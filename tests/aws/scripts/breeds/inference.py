"""The inference script of a course project: a picture in, the network's numbers out. Nothing of Kennel is in it."""

import io
import json
import logging
import os
import sys

import torch
import torch.nn as nn
import torchvision.transforms as transforms
from PIL import Image

logger = logging.getLogger(__name__)
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler(sys.stdout))

JSON_CONTENT_TYPE = "application/json"
JPEG_CONTENT_TYPE = "image/jpeg"


def Net():  # noqa: ANN201, N802  as it was written
    return nn.Sequential(
        nn.Conv2d(3, 4, kernel_size=3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def model_fn(model_dir):  # noqa: ANN001, ANN201
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    logger.info("Loading the model on %s", device)
    model = Net().to(device)
    with open(os.path.join(model_dir, "model.pth"), "rb") as f:
        model.load_state_dict(torch.load(f, map_location=device))
    model.eval()
    return model


def input_fn(request_body, content_type=JPEG_CONTENT_TYPE):  # noqa: ANN001, ANN201
    logger.debug("Request body CONTENT-TYPE is: %s, TYPE is: %s", content_type, type(request_body))
    if content_type == JPEG_CONTENT_TYPE:
        return Image.open(io.BytesIO(request_body))
    if content_type == JSON_CONTENT_TYPE:
        return Image.new("RGB", (32, 32), json.loads(request_body)["colour"])
    raise Exception(f"Requested unsupported ContentType in content_type: {content_type}")


def predict_fn(input_object, model):  # noqa: ANN001, ANN201
    test_transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    input_object = test_transform(input_object)
    with torch.no_grad():
        return model(input_object.unsqueeze(0))
