"""Runs containers on machines of the Assay network, whose hardware is proven on chain.

::

    import depin_compute_lib as dcl

    client = dcl.ComputeClient(private_key="…")
    clusters = client.find_providers({"gpu_type": "NVIDIA_H100", "min_vram_gb": 80, "min_nodes": 4})
    deployment = client.deploy_container(provider_id=clusters[0].id, image="registry.example/team/finetune:v2.4")
    print(clusters[0].price, deployment.status_url)

Prices are `decimal.Decimal` and exact, in ASY for each slot and hour. All errors are `AssayError`; their text says what
was wrong and what to do.
"""

from ._async import AsyncComputeClient, AsyncDeployment
from ._client import ComputeClient
from ._core import (
    AssayError,
    ConnectError,
    DeploymentError,
    ImageError,
    InvalidKeyError,
    InvalidOrderError,
    JobError,
    NoProviderError,
    PaymentError,
    WaitTimeoutError,
    WorkerError,
)
from ._deployment import Deployment
from ._types import (
    Artifact,
    AssignmentEnd,
    Balance,
    Cluster,
    Estimate,
    ExecResult,
    Explanation,
    LogLine,
    Machine,
    PassedOver,
    Port,
    Result,
)

__all__ = [
    "Artifact",
    "AssayError",
    "AssignmentEnd",
    "AsyncComputeClient",
    "AsyncDeployment",
    "Balance",
    "Cluster",
    "ComputeClient",
    "ConnectError",
    "Deployment",
    "DeploymentError",
    "Estimate",
    "ExecResult",
    "Explanation",
    "ImageError",
    "InvalidKeyError",
    "InvalidOrderError",
    "JobError",
    "LogLine",
    "Machine",
    "NoProviderError",
    "PassedOver",
    "PaymentError",
    "Port",
    "Result",
    "WaitTimeoutError",
    "WorkerError",
]
