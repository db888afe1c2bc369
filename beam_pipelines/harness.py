"""Works for a distributed runner, in this process: what Beam's own containers do at their start."""

import json
import os
from typing import Any, Final

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from google.protobuf import json_format, text_format

_TIMEOUT_SECONDS: Final = 60


def work(worker_id: str, provision_endpoint: str) -> None:
    """Does what the runner sends, until it closes the connection.

    Args:
        worker_id: The runner's name for this worker.
        provision_endpoint: `host:port` of the service that knows of the pipeline and the others.
    """
    info = _provision_info(worker_id, provision_endpoint)
    os.environ.update(
        WORKER_ID=worker_id,
        PIPELINE_OPTIONS=json.dumps(json_format.MessageToDict(info.pipeline_options)),
        CONTROL_API_SERVICE_DESCRIPTOR=text_format.MessageToString(info.control_endpoint),
        LOGGING_API_SERVICE_DESCRIPTOR=text_format.MessageToString(info.logging_endpoint),
        RUNNER_CAPABILITIES=" ".join(info.runner_capabilities),
    )
    # It reads the worker's name from the environment when it is imported.
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])


def _provision_info(worker_id: str, endpoint: str) -> Any:
    with grpc.insecure_channel(endpoint) as channel:
        answer = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel).GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            metadata=[("worker_id", worker_id)],
            timeout=_TIMEOUT_SECONDS,
            wait_for_ready=True,
        )
    return answer.info
