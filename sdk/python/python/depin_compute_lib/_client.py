"""The client."""

from __future__ import annotations

import json
import os
import warnings
from decimal import Decimal
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Type, Union

from . import _core
from ._deployment import Deployment
from ._json import dumps
from ._progress import Receiver, Steps
from ._types import Balance, Cluster, Estimate, Explanation

ENDPOINT_VARIABLE = "ASSAY_ENDPOINT"

Requirements = Mapping[str, Any]
Duration = Union[int, float, str]
"""Seconds, or a text such as ``"90s"``, ``"10m"`` or ``"2h"``."""
Price = Union[int, float, str, Decimal]
"""ASY for each slot and hour. A float means the number that it is written as."""
Provider = Union[str, Cluster]


class ComputeClient:
    """Client of the Assay network: finds machines, and runs containers on them.

    :param private_key: a phrase of words, 64 hexadecimal digits, or on a development chain a name like ``//Alice``.
    :param endpoint: WebSocket URL of a node; the environment variable ``ASSAY_ENDPOINT`` if it is left out.
    :param key_file: instead of ``private_key``: a key file. With ``password`` it is one that polkadot.js exported.
    :param password: password of the key file.
    :raises InvalidKeyError: the key is none, or a published one on a chain that is not for development.
    :raises ConnectError: the node does not answer, or is of another chain.

    Any number of clients may sign with one key at once. Calls wait without keeping other threads from running, and end
    with ``KeyboardInterrupt`` on Ctrl-C.
    """

    def __init__(
        self,
        private_key: Optional[str] = None,
        *,
        endpoint: Optional[str] = None,
        key_file: Union[str, "os.PathLike[str]", None] = None,
        password: Optional[str] = None,
    ) -> None:
        if private_key is not None and not isinstance(private_key, str):
            raise _core.InvalidKeyError(
                f"private_key: it is {type(private_key).__name__}; give a text: a phrase, 64 hexadecimal digits, or //Alice"
            )
        endpoint = endpoint or os.environ.get(ENDPOINT_VARIABLE)
        if not endpoint:
            raise _core.ConnectError(
                f"no endpoint is given: pass endpoint=\"ws://127.0.0.1:9944\", or set the environment variable "
                f"{ENDPOINT_VARIABLE}"
            )
        self._core = _core.Client(endpoint, private_key, key_file, password)
        # Requirements of the clusters that were found last, by provider.
        self._found: Dict[str, Dict[str, Any]] = {}

    def __enter__(self) -> ComputeClient:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._found.clear()

    def __repr__(self) -> str:
        return f"ComputeClient(address={self.address!r}, endpoint={self.endpoint!r})"

    @property
    def address(self) -> str:
        """Address of the account that pays."""
        return self._core.address

    @property
    def endpoint(self) -> str:
        """URL of the node."""
        return self._core.endpoint

    def balance(self) -> Balance:
        """Returns the account's balances in ASY."""
        return Balance(**{name: Decimal(amount) for name, amount in json.loads(self._core.balance()).items()})

    def find_providers(self, requirements: Optional[Requirements] = None) -> List[Cluster]:
        """Returns providers with machines that meet the requirements: the best uptime first, then the lowest price.

        An empty list when none fits; `explain` says why. Names of requirements, all of them optional:

        ``gpu_type``, ``region``
            Hardware class and region code, such as ``"NVIDIA_H100"`` and ``"us-east"``.
        ``min_nodes``, ``slots``
            Machines of one provider, and slots of each that are to be leased. Default: one.
        ``max_price_per_hour``
            ASY for each slot and hour, exactly as it is written. There is no fiat: a rate needs a source.
        ``min_vram_gb``, ``min_ram_gb``, ``min_disk_gb``
            GiB: of one GPU, and of what the slots share.
        ``min_cuda_cores``, ``min_compute_score``, ``min_cpu_cores``
            Cores of one GPU, its dense BF16 TFLOPS, and CPU cores that the slots share.
        ``min_upload_mbps``, ``min_download_mbps``, ``min_uptime_percent``
            Mbit/s, and percent of the time.
        ``near``
            ``{"latitude": 40.7, "longitude": -74.0, "within_km": 100}``, or ``within_miles``.
        ``tee``
            ``"sgx"``, ``"tdx"``, ``"sev-snp"`` or ``"nvidia-gpu"``: fresh evidence of it is on chain.

        :raises InvalidOrderError: a name is not known, or a value is not allowed.
        """
        wanted = dict(requirements or {})
        clusters = [Cluster._of(record) for record in json.loads(_core.find(self._core, dumps(wanted)))]
        for cluster in clusters:
            self._found[cluster.id] = wanted
        return clusters

    def explain(self, requirements: Optional[Requirements] = None) -> Explanation:
        """Returns why machines meet the requirements or do not. ``print`` it."""
        return Explanation._of(json.loads(_core.explain(self._core, dumps(dict(requirements or {})))))

    def deploy_container(
        self,
        provider_id: Optional[Provider] = None,
        image: Optional[str] = None,
        env_vars: Optional[Mapping[str, str]] = None,
        *,
        command: Optional[Sequence[str]] = None,
        entrypoint: Optional[Sequence[str]] = None,
        secrets: Optional[Mapping[str, Union[str, bytes]]] = None,
        registry: Optional[Mapping[str, str]] = None,
        network: Union[bool, Sequence[str], None] = None,
        ports: Optional[Sequence[Union[int, Mapping[str, Any]]]] = None,
        output: Optional[str] = None,
        shm_mb: Optional[int] = None,
        profile: Optional[str] = None,
        runtime: Optional[str] = None,
        writable_root: Optional[bool] = None,
        capture_stdout: Optional[bool] = None,
        delegates: Optional[Sequence[str]] = None,
        kind: Optional[str] = None,
        verification: Optional[str] = None,
        threshold: Optional[int] = None,
        requirements: Optional[Requirements] = None,
        nodes: Optional[int] = None,
        replicas: Optional[int] = None,
        distinct: Optional[bool] = None,
        distinct_regions: Optional[bool] = None,
        machines: Optional[Sequence[int]] = None,
        slots: Optional[int] = None,
        max_duration: Optional[Duration] = None,
        max_price_per_hour: Optional[Price] = None,
        sealed: Optional[bool] = None,
        retry: Optional[int] = None,
        start_within: Optional[Duration] = None,
        keep: Optional[Union[str, "os.PathLike[str]"]] = None,
        progress: Receiver = None,
    ) -> Deployment:
        """Orders a job, and returns when its containers run on all machines.

        The image's tag is resolved to a digest, which the order has and ``deployment.image`` shows. The manifest is
        sealed to each machine and delivered. On as many machines as ``min_nodes`` of the search that found the
        provider, unless ``nodes``, ``replicas`` or ``machines`` say otherwise.

        :param provider_id: a cluster's ``id``, or the cluster; the best provider if it is left out.
        :param image: ``[registry/]name[:tag]`` or ``name@sha256:…``.
        :param env_vars: environment variables.
        :param command: command and arguments; the image's if they are left out.
        :param entrypoint: entrypoint; the image's if it is left out.
        :param secrets: files of ``/run/secrets``: text or bytes.
        :param registry: ``{"username": …, "password": …}`` for a private image.
        :param network: ``True``, or a list of destinations such as ``"example.org:443"``. Default: none.
        :param ports: numbers (TCP), or ``{"port": 80, "protocol": "http", "name": "web"}``.
        :param output: folder below ``/work`` whose files are part of the result.
        :param shm_mb: size of ``/dev/shm`` in MiB.
        :param profile: ``"batch"``, or ``"interactive"`` for `Deployment.exec`.
        :param runtime: stronger runtime that must run the container, such as ``"kata"``.
        :param writable_root: lets the container write outside of ``/work``.
        :param capture_stdout: ``False`` for a task whose output differs from run to run.
        :param delegates: addresses that may read logs, run commands and fetch artifacts as well.
        :param kind: ``"task"``, which ends by itself (default), or ``"service"``, which runs until it is closed.
        :param verification: judge of a task's result: ``"consumer"`` (default), ``"attested"`` or ``"quorum"``.
        :param threshold: replicas of a quorum that must agree; more than half if it is left out.
        :param requirements: requirements for the machines; those of the search that found the provider by default.
        :param nodes: number of machines.
        :param replicas: number of copies, each on a machine of its own: another name of ``nodes``.
        :param distinct: each machine of another provider.
        :param distinct_regions: each machine in another region.
        :param machines: numbers of machines to run on.
        :param slots: slots of each machine.
        :param max_duration: longest run, whose price is held: seconds, or ``"2h"``. Default: 10 minutes.
        :param max_price_per_hour: most to pay, in ASY for each slot and hour.
        :param sealed: ``False`` publishes the manifest on chain instead.
        :param retry: how often other providers are tried, when machines fail or are slow. A job that failed is closed
            first.
        :param start_within: longest wait for the containers; a slower job counts as failed.
        :param keep: new file for the sealed manifest, secrets included, which its owner alone can read:
            `Deployment.deliver` delivers it again.
        :param progress: ``None``: a line in a terminal only; ``False``: nothing; or a function that gets each step as a
            dict, the transaction's hash before the wait for it. The function must not call the client.
        :raises NoProviderError: no machines fit. :raises ImageError: the tag has no digest.
        :raises DeploymentError: the containers did not start, with the reason.
        :raises PaymentError: the account has too little.
        """
        order = self._order(
            provider_id,
            requirements,
            nodes,
            replicas,
            image=image,
            env_vars=env_vars,
            command=command,
            entrypoint=entrypoint,
            secrets=secrets,
            registry=registry,
            network=network,
            ports=ports,
            output=output,
            shm_mb=shm_mb,
            profile=profile,
            runtime=runtime,
            writable_root=writable_root,
            capture_stdout=capture_stdout,
            delegates=delegates,
            kind=kind,
            verification=verification,
            threshold=threshold,
            distinct=distinct,
            distinct_regions=distinct_regions,
            machines=machines,
            slots=slots,
            max_duration=max_duration,
            max_price_per_hour=max_price_per_hour,
            sealed=sealed,
            retry=retry,
            start_within=start_within,
        )
        text = dumps(order)
        return self._deploy(progress, lambda steps: _core.deploy(self._core, text, steps, keep))

    def deploy_file(
        self,
        path: Union[str, "os.PathLike[str]"] = "compute-manifest.yaml",
        *,
        provider_id: Optional[Provider] = None,
        keep: Optional[Union[str, "os.PathLike[str]"]] = None,
        progress: Receiver = None,
    ) -> Deployment:
        """Places the order of a ``compute-manifest.yaml``; its secrets come from files beside it and from the environment.

        :param keep: as in `deploy_container`.
        :raises InvalidOrderError: the file's problems, each with its line and what is allowed.
        """
        if isinstance(provider_id, Cluster):
            provider_id = provider_id.id
        return self._deploy(progress, lambda steps: _core.deploy_file(self._core, path, provider_id, steps, keep))

    def estimate(
        self,
        provider_id: Optional[Provider] = None,
        image: str = "image",
        *,
        requirements: Optional[Requirements] = None,
        nodes: Optional[int] = None,
        replicas: Optional[int] = None,
        **options: Any,
    ) -> Estimate:
        """Returns the exact cost of the order that `deploy_container` would place with these arguments.

        Nothing is signed, and no registry is asked: the image's name is no part of the price.
        """
        for name in ("keep", "progress", "start_within"):
            options.pop(name, None)
        order = self._order(provider_id, requirements, nodes, replicas, image=image, **options)
        return Estimate._of(json.loads(_core.quote(self._core, dumps(order))))

    def deployment(self, job: int, machines: Sequence[int] = ()) -> Deployment:
        """Returns the way to a job that was ordered before.

        :param machines: machines that had it; needed for one that is closed.
        """
        return Deployment(self._core, job, machines)

    def deployments(self) -> List[Deployment]:
        """Returns the account's jobs that are not closed, the oldest first."""
        return [Deployment(self._core, record["job"]) for record in json.loads(_core.jobs(self._core))]

    def _deploy(self, progress: Receiver, place: Callable[[Steps], str]) -> Deployment:
        steps = Steps(progress)
        try:
            record = json.loads(place(steps))
        except KeyboardInterrupt:
            if steps.transaction is not None:
                job = "its job" if steps.job is None else f"job {steps.job}"
                warnings.warn(
                    f"interrupted after the order: transaction {steps.transaction}; {job} may run, and is paid for: "
                    "client.deployments() lists what is open",
                    stacklevel=3,
                )
            raise
        finally:
            steps.end()
        return Deployment(self._core, record["job"], record["machines"], record)

    def _order(
        self,
        provider_id: Optional[Provider],
        requirements: Optional[Requirements],
        nodes: Optional[int],
        replicas: Optional[int],
        **options: Any,
    ) -> Dict[str, Any]:
        if nodes is not None and replicas is not None:
            raise _core.InvalidOrderError("replicas: nodes and replicas are both given, and mean the same: keep one")
        if isinstance(provider_id, Cluster):
            provider_id = provider_id.id
        if requirements is None and provider_id is not None:
            requirements = self._found.get(provider_id)
        order = {name: value for name, value in options.items() if value is not None}
        order["provider_id"] = provider_id
        order["nodes"] = nodes if nodes is not None else replicas
        order["requirements"] = None if requirements is None else dict(requirements)
        return {name: value for name, value in order.items() if value is not None}
