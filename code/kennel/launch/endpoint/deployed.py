"""What came of a deployment."""

import datetime
from dataclasses import dataclass

from kennel.aws.scaling import Limits


@dataclass(frozen=True)
class Deployed:
    """status: SageMaker's. due: when it is deleted, in UTC. limits: between which its machines follow its load."""

    status: str
    due: datetime.datetime | None = None
    limits: Limits | None = None
