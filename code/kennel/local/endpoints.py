"""SageMaker's endpoint operations on this machine: one server process an endpoint."""

import shutil
import sys
import threading
import traceback
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from kennel.errors import KennelError
from kennel.local.faults import invalid
from kennel.local.listing import list_page
from kennel.local.machine import Machine
from kennel.local.models import EndpointConfigs, Models, container_of
from kennel.local.places import ON, runs_on, tag_value, with_place
from kennel.local.runners import Hosted, Place
from kennel.local.servers import Server, ServerFailure
from kennel.local.settings import arn
from kennel.local.store import Record, Store, now
from kennel.local.validation import Json, Operation, service_model

_ALIVE: Final = ("Creating", "InService", "Updating", "Deleting")
_WATCH_S: Final = 0.5
_SUMMARY: Final = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")


class Endpoint:
    """One endpoint's servers. A thread brings each server up and watches it until it is replaced or deleted."""

    def __init__(self, name: str, machine: Machine, store: Store) -> None:
        self.name = name
        self.server: Server | None = None
        self._machine = machine
        self._store = store
        self._servers: list[Server] = []
        self._lock = threading.Lock()
        self._is_ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def bring_up(self, config: Json, model: Json) -> None:
        """Starts a server for the configuration; when it is healthy it takes over from the one before.

        model: CreateModel's request.
        """
        hosted = Hosted(self.name, model, container_of(model), config["ProductionVariants"][0])
        with self._lock:
            place = Place(self._machine.layout.endpoint_dir(self.name), len(self._servers) + 1)
            server = Server(hosted, place, self._machine)
            self._servers.append(server)
            thread = threading.Thread(target=self._live, args=(config, server), name=f"endpoint {self.name}")
            thread.daemon = True
            self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        """Stops every server, and waits for that."""
        self._is_ending.set()
        for thread in self._threads:
            thread.join()

    def kill(self) -> None:
        """Ends the servers without their grace time, while `end` waits for them."""
        self._is_ending.set()
        for server in self._servers:
            server.kill()

    def _live(self, config: Json, server: Server) -> None:
        try:
            self._serve(config, server)
        except ServerFailure as failure:
            self._fail(server, str(failure))
        except (KennelError, OSError, BotoCoreError, ClientError) as error:
            self._fail(server, f"The model could not be brought to the endpoint: {error}")
        except Exception as error:  # a fault of ours must end the endpoint, not leave it Creating for ever
            traceback.print_exc()
            self._fail(server, f"InternalFailure: {error!r} in the local SageMaker; see its log")
        finally:
            server.stop()

    def _serve(self, config: Json, server: Server) -> None:
        server.bring_model()
        if self._is_ending.is_set():
            return
        server.start()
        server.wait_until_healthy(startup_limit_s(config, self._machine), lambda: not self._is_ending.is_set())
        if self._is_ending.is_set():
            return
        self.server = server  # the one before sees that it was replaced, and stops
        in_service = {"EndpointStatus": "InService", "EndpointConfigName": config["EndpointConfigName"]}
        self._store.update(self.name, {**in_service, **_variants(config)}, drop=("FailureReason",))
        while not self._is_ending.is_set() and self.server is server:
            code = server.exit_status(_WATCH_S)
            if code is not None and not self._is_ending.is_set():
                raise server.died(code)

    def _fail(self, server: Server, reason: str) -> None:
        """A failed update leaves the server before in service, as on AWS; otherwise the endpoint has failed."""
        print(f"endpoint {self.name}: {reason}", file=sys.stderr, flush=True)
        if self._is_ending.is_set():
            return
        if self.server is server:
            self.server = None
        status = "InService" if self.server else "Failed"
        self._store.update(self.name, {"EndpointStatus": status, "FailureReason": reason[:1024]})


class Endpoints:
    """Every endpoint of a runs folder."""

    def __init__(self, machine: Machine, configs: EndpointConfigs, models: Models) -> None:
        shape = service_model("sagemaker").operation_model("DescribeEndpoint").output_shape
        self._machine = machine
        self._configs = configs
        self._models = models
        self.store = Store(shape, lambda name: machine.layout.endpoint_dir(name) / "endpoint.json")
        self._endpoints: dict[str, Endpoint] = {}
        self._lock = threading.Lock()

    def load(self) -> None:
        """Finds the endpoints of earlier services on disk. Their servers ended with their services."""
        self.store.load("EndpointName", self._machine.layout.endpoint_dir("*").parent.glob("*/endpoint.json"))
        for record in self.store.all():
            if record.description["EndpointStatus"] in _ALIVE:
                reason = "The local SageMaker ended, and the endpoint's server with it. Delete the endpoint, and deploy"
                changes = {"EndpointStatus": "Failed", "FailureReason": f"{reason} again."}
                self.store.update(record.description["EndpointName"], changes)

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {
            "CreateEndpoint": self.create,
            "DescribeEndpoint": self.describe,
            "ListEndpoints": self.list_page,
            "UpdateEndpoint": self.update,
            "DeleteEndpoint": self.delete,
        }

    def create(self, request: Json) -> Json:
        name = request["EndpointName"]
        config = self._configs.find(request["EndpointConfigName"])
        model = self._models.request_of(config["ProductionVariants"][0]["ModelName"])
        at = now()
        description = {
            "EndpointName": name,
            "EndpointArn": arn("endpoint", name),
            "EndpointConfigName": request["EndpointConfigName"],
            **_variants(config),
            "EndpointStatus": "Creating",
            "CreationTime": at,
            "LastModifiedTime": at,
        }
        if not self.store.add(name, Record(request, description, _tags(request, model))):
            raise invalid(f'Cannot create already existing endpoint "{arn("endpoint", name)}".')
        endpoint = Endpoint(name, self._machine, self.store)
        with self._lock:
            self._endpoints[name] = endpoint
        endpoint.bring_up(config, model)
        return {"EndpointArn": arn("endpoint", name)}

    def describe(self, request: Json) -> Json:
        return self.find(request["EndpointName"])

    def list_page(self, request: Json) -> Json:
        descriptions = [record.description for record in self.store.all()]
        return list_page(request, descriptions, key="Endpoints", prefix="Endpoint", members=_SUMMARY)

    def update(self, request: Json) -> Json:
        name = request["EndpointName"]
        config = self._configs.find(request["EndpointConfigName"])
        model = self._models.request_of(config["ProductionVariants"][0]["ModelName"])
        endpoint = self._endpoints.get(name)
        if self.find(name)["EndpointStatus"] != "InService" or endpoint is None:
            raise invalid(f'Cannot update in-progress endpoint "{arn("endpoint", name)}".')
        self.store.update(name, {"EndpointStatus": "Updating"})
        self.store.tag(name, lambda tags: _tags({"Tags": list(tags)}, model))
        endpoint.bring_up(config, model)
        return {"EndpointArn": arn("endpoint", name)}

    def delete(self, request: Json) -> Json:
        """Deletes an endpoint in any state. Unlike on AWS also one that is being created."""
        name = request["EndpointName"]
        if self.find(name)["EndpointStatus"] == "Deleting":
            raise invalid(f'Cannot update in-progress endpoint "{arn("endpoint", name)}".')
        self.store.update(name, {"EndpointStatus": "Deleting"})
        threading.Thread(target=self._delete, args=(name,), name=f"deleting {name}", daemon=True).start()
        return {}

    def find(self, name: str) -> Json:
        """The description of an endpoint. Raises ApiError if there is none."""
        record = self.store.get(name)
        if record is None:
            raise invalid(f'Could not find endpoint "{arn("endpoint", name)}".')
        return record.description

    def server_of(self, name: str) -> Server | None:
        """The server that answers for an endpoint now."""
        endpoint = self._endpoints.get(name)
        return endpoint.server if endpoint else None

    @property
    def alive(self) -> list[Endpoint]:
        """The endpoints that have, or are getting, or are losing a server."""
        with self._lock:
            endpoints = list(self._endpoints.values())
        return [each for each in endpoints if self._status(each.name) in _ALIVE]

    def stop_all(self) -> None:
        """Stops every server, as the service itself ends, and waits for that."""
        with self._lock:
            endpoints = list(self._endpoints.values())
        threads = [threading.Thread(target=endpoint.end) for endpoint in endpoints]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def kill_all(self) -> None:
        """Ends every server without its grace time."""
        for endpoint in self.alive:
            endpoint.kill()

    def _status(self, name: str) -> str | None:
        record = self.store.get(name)
        return record.description["EndpointStatus"] if record else None

    def _delete(self, name: str) -> None:
        endpoint = self._endpoints.get(name)
        if endpoint:
            endpoint.end()
        with self._lock:
            self._endpoints.pop(name, None)
        shutil.rmtree(self._machine.layout.endpoint_dir(name), ignore_errors=True)
        self.store.remove(name)


def startup_limit_s(config: Json, machine: Machine) -> float:
    """How long a server may take until it is healthy."""
    limit_s = config["ProductionVariants"][0].get("ContainerStartupHealthCheckTimeoutInSeconds")
    return machine.settings.ping_limit_s if limit_s is None else float(limit_s)


def _tags(request: Json, model: Json) -> tuple[Json, ...]:
    """The endpoint's tags; where it runs is its model's to say."""
    tagged = with_place(request, runs_on(model)) if tag_value(request, ON) or tag_value(model, ON) else request
    return tuple(tagged.get("Tags", []))


def _variants(config: Json) -> Json:
    """ProductionVariants as DescribeEndpoint shows them."""
    variant = config["ProductionVariants"][0]
    count = variant.get("InitialInstanceCount", 1)
    weight = variant.get("InitialVariantWeight", 1.0)
    return {
        "ProductionVariants": [
            {
                "VariantName": variant["VariantName"],
                "CurrentWeight": weight,
                "DesiredWeight": weight,
                "CurrentInstanceCount": count,
                "DesiredInstanceCount": count,
            }
        ]
    }
