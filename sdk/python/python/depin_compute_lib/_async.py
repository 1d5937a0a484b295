"""The same for asyncio: each call waits on a thread, and the event loop goes on."""

from __future__ import annotations

import asyncio
import functools
import inspect
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, AsyncIterator, Callable, Dict, List, Mapping, Optional, Type, TypeVar

from ._client import ComputeClient, Requirements
from ._deployment import Deployment
from ._types import Artifact, AssignmentEnd, Balance, Cluster, Estimate, ExecResult, Explanation, LogLine, Port, Result

T = TypeVar("T")

_THREADS = 8


class _Threads:
    """Threads of one client."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="assay-async")

    async def run(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, functools.partial(call, *arguments, **named))

    def end(self) -> None:
        self._executor.shutdown(wait=False)


class AsyncDeployment:
    """A job that was ordered; the methods of `Deployment` as coroutines."""

    def __init__(self, deployment: Deployment, threads: _Threads) -> None:
        self._deployment = deployment
        self._threads = threads

    @property
    def job(self) -> int:
        """Number of the job."""
        return self._deployment.job

    @property
    def machines(self) -> tuple[int, ...]:
        """Numbers of the machines."""
        return self._deployment.machines

    @property
    def image(self) -> Optional[str]:
        """The image, with the digest that the order has."""
        return self._deployment.image

    @property
    def transaction(self) -> Optional[str]:
        """Hash of the transaction that ordered the job."""
        return self._deployment.transaction

    @property
    def status_url(self) -> Optional[str]:
        """URL of the job at the worker of its first machine. Requests to it need the owner's token."""
        return self._deployment.status_url

    def __repr__(self) -> str:
        return f"Async{self._deployment!r}"

    async def __aenter__(self) -> AsyncDeployment:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self._threads.run(self._deployment.__exit__, kind, error, traceback)

    async def status(self, machine: Optional[int] = None) -> Dict[str, Any]:
        """See `Deployment.status`."""
        return await self._threads.run(self._deployment.status, machine)

    async def deliver(self, path: Any) -> tuple[int, ...]:
        """See `Deployment.deliver`."""
        return await self._threads.run(self._deployment.deliver, path)

    async def wait(self, timeout: Optional[float] = None) -> List[AssignmentEnd]:
        """See `Deployment.wait`. A coroutine that is cancelled leaves its thread waiting: give a timeout."""
        return await self._threads.run(self._deployment.wait, timeout)

    async def result(self, machine: Optional[int] = None) -> Result:
        """See `Deployment.result`."""
        return await self._threads.run(self._deployment.result, machine)

    async def accept(self) -> None:
        """See `Deployment.accept`."""
        await self._threads.run(self._deployment.accept)

    async def logs(self, follow: bool = False, **options: Any) -> AsyncIterator[LogLine]:
        """See `Deployment.logs`; for ``async for``."""
        lines = self._deployment.logs(follow, **options)
        try:
            while True:
                line = await self._threads.run(next, lines, None)
                if line is None:
                    return
                yield line
        finally:
            close = getattr(lines, "close", None)
            if close is not None:
                await self._threads.run(close)

    async def exec(self, command: Any, **options: Any) -> ExecResult:
        """See `Deployment.exec`."""
        return await self._threads.run(self._deployment.exec, command, **options)

    async def artifacts(self, machine: Optional[int] = None) -> List[Artifact]:
        """See `Deployment.artifacts`."""
        return await self._threads.run(self._deployment.artifacts, machine)

    async def download(self, folder: Any, **options: Any) -> Dict[str, Any]:
        """See `Deployment.download`."""
        return await self._threads.run(self._deployment.download, folder, **options)

    async def ports(self, machine: Optional[int] = None) -> List[Port]:
        """See `Deployment.ports`."""
        return await self._threads.run(self._deployment.ports, machine)

    async def extend(self, seconds: float) -> None:
        """See `Deployment.extend`."""
        await self._threads.run(self._deployment.extend, seconds)

    async def close(self) -> None:
        """See `Deployment.close`."""
        await self._threads.run(self._deployment.close)


class AsyncComputeClient:
    """Client of the Assay network for asyncio; takes the arguments of `ComputeClient`, and connects at its first use::

        async with dcl.AsyncComputeClient(private_key="//Alice") as client:
            clusters = await client.find_providers({"min_nodes": 2})
    """

    def __init__(self, private_key: Optional[str] = None, **options: Any) -> None:
        # Wrong names are told at once, and not at the first use.
        inspect.signature(ComputeClient).bind(private_key, **options)
        self._connect = functools.partial(ComputeClient, private_key, **options)
        self._client: Optional[ComputeClient] = None
        self._connecting: Optional[asyncio.Lock] = None
        self._threads = _Threads()

    async def _connected(self) -> ComputeClient:
        if self._connecting is None:
            # Made here: before Python 3.10 a lock belongs to the event loop in which it is made.
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._client is None:
                self._client = await self._threads.run(self._connect)
            return self._client

    async def __aenter__(self) -> AsyncComputeClient:
        await self._connected()
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets the threads of this client end when they have nothing to wait for."""
        self._threads.end()

    async def address(self) -> str:
        """Returns the address of the account that pays."""
        return (await self._connected()).address

    async def balance(self) -> Balance:
        """See `ComputeClient.balance`."""
        return await self._threads.run((await self._connected()).balance)

    async def find_providers(self, requirements: Optional[Requirements] = None) -> List[Cluster]:
        """See `ComputeClient.find_providers`."""
        return await self._threads.run((await self._connected()).find_providers, requirements)

    async def explain(self, requirements: Optional[Requirements] = None) -> Explanation:
        """See `ComputeClient.explain`."""
        return await self._threads.run((await self._connected()).explain, requirements)

    async def deploy_container(
        self,
        provider_id: Any = None,
        image: Optional[str] = None,
        env_vars: Optional[Mapping[str, str]] = None,
        **options: Any,
    ) -> AsyncDeployment:
        """See `ComputeClient.deploy_container`. A coroutine that is cancelled does not stop the order: look at
        `deployments`."""
        client = await self._connected()
        deployment = await self._threads.run(client.deploy_container, provider_id, image, env_vars, **options)
        return AsyncDeployment(deployment, self._threads)

    async def deploy_file(self, path: Any = "compute-manifest.yaml", **options: Any) -> AsyncDeployment:
        """See `ComputeClient.deploy_file`."""
        client = await self._connected()
        return AsyncDeployment(await self._threads.run(client.deploy_file, path, **options), self._threads)

    async def estimate(self, provider_id: Any = None, image: str = "image", **options: Any) -> Estimate:
        """See `ComputeClient.estimate`."""
        client = await self._connected()
        return await self._threads.run(client.estimate, provider_id, image, **options)

    async def deployment(self, job: int, machines: Any = ()) -> AsyncDeployment:
        """See `ComputeClient.deployment`."""
        return AsyncDeployment((await self._connected()).deployment(job, machines), self._threads)

    async def deployments(self) -> List[AsyncDeployment]:
        """See `ComputeClient.deployments`."""
        client = await self._connected()
        return [AsyncDeployment(entry, self._threads) for entry in await self._threads.run(client.deployments)]
