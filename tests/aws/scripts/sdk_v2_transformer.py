"""What somebody wrote for SageMaker's batch transform with the Python SDK v2: nothing in it knows where it runs.

python sdk_v2_transformer.py FOLDER TRAINED_JOB: pictures by estimator.transformer(), then JSON lines by
model.transformer() with records joined, in a job that is waited for later and attached to. Prints what it found last.
"""

import base64
import json
import sys
from pathlib import Path

import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.model import Model
from sagemaker.s3 import S3Downloader, S3Uploader
from sagemaker.transformer import Transformer

folder, trained = sys.argv[1:]
image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/kennel-{}:1"
role = "arn:aws:iam::123456789012:role/sagemaker"
session = sagemaker.Session()
pictures = session.upload_data(folder, key_prefix="batch/pictures")

estimator = Estimator.attach(trained, sagemaker_session=session)
estimator.image_uri = image.format("serve")
transformer = estimator.transformer(
    instance_count=1, instance_type="ml.m5.large", accept="application/json", max_concurrent_transforms=2
)
transformer.transform(pictures, content_type="image/jpeg", wait=True, logs=False)
names = sorted(each.rpartition("/")[2] for each in S3Downloader.list(transformer.output_path))
print()
first = json.loads(S3Downloader.read_file(f"{transformer.output_path}/{names[0]}"))

lines = "\n".join(
    json.dumps({"image": base64.b64encode(photo.read_bytes()).decode()}) for photo in sorted(Path(folder).glob("*.jpg"))
)
records = S3Uploader.upload_string_as_file_body(
    lines, f"s3://{session.default_bucket()}/batch/lines/photos.jsonl", sagemaker_session=session
)
model = Model(image.format("serve"), model_data=estimator.model_data, role=role, sagemaker_session=session)
joining = model.transformer(
    1,
    "ml.m5.large",
    strategy="SingleRecord",
    assemble_with="Line",
    accept="application/json",
    output_path=f"s3://{session.default_bucket()}/batch/joined",
)
joining.transform(
    records,
    content_type="application/json",
    split_type="Line",
    join_source="Input",
    output_filter="$['SageMakerOutput']",
    wait=False,
)
joining.wait(logs=False)
answers = S3Downloader.read_file(f"{joining.output_path}/photos.jsonl.out").splitlines()

attached = Transformer.attach(joining.latest_transform_job.name, sagemaker_session=session)
transformer.delete_model()
joining.delete_model()
print()
print(
    json.dumps(
        {
            "answer": {"names": names, "first": first, "lines": [json.loads(line) for line in answers]},
            "attached": [attached.model_name, attached.strategy, attached.assemble_with, attached.output_path],
        }
    )
)
