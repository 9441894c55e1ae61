"""What somebody wrote for SageMaker with the SDK v2's PyTorchModel: nothing in it knows where it runs.

python sdk_v2_pytorch_model.py FOLDER PHOTO: packs a network of a course project, deploys it with its inference.py, asks
it with a picture as the SDK and as boto3 do; then deploys a network without input_fn and output_fn and sends it numbers
by each serializer. Prints the answers last.
"""

import json
import os
import sys
import tarfile
from pathlib import Path

import boto3
import numpy as np
import sagemaker
import torch
from sagemaker.deserializers import BytesDeserializer, CSVDeserializer, JSONDeserializer, NumpyDeserializer
from sagemaker.predictor import Predictor
from sagemaker.pytorch import PyTorchModel
from sagemaker.serializers import CSVSerializer, IdentitySerializer, JSONSerializer, NumpySerializer

folder, photo = sys.argv[1:]
here = Path(__file__).parent
role = "arn:aws:iam::123456789012:role/sagemaker"
session = sagemaker.Session()
os.chdir(folder)


def pack(state):  # noqa: ANN001, ANN201
    torch.save(state, "model.pth")
    with tarfile.open("model.tar.gz", "w:gz") as tar:
        tar.add("model.pth")
    return session.upload_data("model.tar.gz", key_prefix="networks")


class ImagePredictor(Predictor):
    def __init__(self, endpoint_name, sagemaker_session):  # noqa: ANN001, ANN204
        super().__init__(
            endpoint_name,
            sagemaker_session=sagemaker_session,
            serializer=IdentitySerializer("image/jpeg"),
            deserializer=JSONDeserializer(),
        )


sys.path.insert(0, str(here / "breeds"))
from inference import Net  # noqa: E402  the project's own

torch.manual_seed(0)
model = PyTorchModel(
    model_data=pack(Net().state_dict()),
    role=role,
    entry_point="inference.py",
    source_dir=str(here / "breeds"),
    framework_version="2.5",
    py_version="py311",
    predictor_cls=ImagePredictor,
    sagemaker_session=session,
)
predictor = model.deploy(initial_instance_count=1, instance_type="ml.m5.large", wait=False)
waiter = session.sagemaker_client.get_waiter("endpoint_in_service")
waiter.wait(EndpointName=predictor.endpoint_name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
payload = Path(photo).read_bytes()
answers = {"picture": predictor.predict(payload)}
runtime = boto3.client("sagemaker-runtime")
answers["default accept"] = json.loads(
    runtime.invoke_endpoint(EndpointName=predictor.endpoint_name, ContentType="image/jpeg", Body=payload)["Body"].read()
)
answers["initial args"] = predictor.predict(b'{"colour": "red"}', initial_args={"ContentType": "application/json"})
try:
    predictor.predict(b"<p>", initial_args={"ContentType": "text/html"})
except runtime.exceptions.ClientError as error:
    answers["unsupported"] = [error.response["Error"]["Code"], error.response["Error"]["Message"]]
predictor.delete_model()
predictor.delete_endpoint()

# A script with a model_fn alone, its network in a library beside it; and an input of numbers.
Path("library/linear").mkdir(parents=True)
Path("library/linear/__init__.py").write_text("import torch.nn as nn\n\n\ndef net():\n    return nn.Linear(3, 2)\n")
Path("serve_linear.py").write_text(
    "import os\n\nimport torch\nfrom linear import net\n\n\n"
    "def model_fn(model_dir):\n    model = net()\n"
    "    model.load_state_dict(torch.load(os.path.join(model_dir, 'model.pth')))\n    return model\n"
)
torch.manual_seed(1)
linear = torch.nn.Linear(3, 2)
model = PyTorchModel(
    model_data=pack(linear.state_dict()),
    role=role,
    entry_point="serve_linear.py",
    dependencies=["library/linear"],
    framework_version="1.12",
    py_version="py38",
    model_server_workers=1,
    env={"SAGEMAKER_MODEL_SERVER_TIMEOUT": "60", "TS_MAX_RESPONSE_SIZE": "100000000"},
    sagemaker_session=session,
)
predictor = model.deploy(initial_instance_count=1, instance_type="ml.m5.large", wait=False)
waiter.wait(EndpointName=predictor.endpoint_name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
rows = np.array([[1.0, 2.0, -0.5], [0.25, 0.0, 4.0]], dtype=np.float32)
answers["npy"] = predictor.predict(rows).tolist()  # what PyTorchPredictor does by itself
for name, serializer, deserializer in (
    ("json", JSONSerializer(), JSONDeserializer()),
    ("csv", CSVSerializer(), CSVDeserializer()),
    ("json to npy", JSONSerializer(), NumpyDeserializer()),
    ("npy to bytes", NumpySerializer(), BytesDeserializer()),
):
    predictor.serializer, predictor.deserializer = serializer, deserializer
    answer = predictor.predict(rows)
    answers[name] = (
        answer.tolist() if hasattr(answer, "tolist") else json.loads(answer) if isinstance(answer, bytes) else answer
    )
predictor.delete_model()
predictor.delete_endpoint()
with torch.no_grad():
    answers["expected"] = linear(torch.tensor(rows)).tolist()
print()  # deploy() ends its row of dashes without a newline
print(json.dumps({"answer": answers}))
