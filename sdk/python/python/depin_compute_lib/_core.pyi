"""Native part of the package: the verbs of a consumer, with orders and answers as JSON texts.

Programs use the classes of `depin_compute_lib` instead.
"""

from os import PathLike
from typing import Callable, List, Optional, Tuple, Union

class AssayError(Exception):
    """Base class of all errors of this package. Its text says what was wrong and what to do."""

class ConnectError(AssayError):
    """The node does not answer, is of another chain, or broke off."""

class InvalidKeyError(AssayError):
    """The private key is none, or not one for this chain."""

class InvalidOrderError(AssayError):
    """Requirements or an order have a value that is not allowed."""

class NoProviderError(AssayError):
    """No provider has machines for the order."""

class PaymentError(AssayError):
    """The account cannot pay for it."""

class ImageError(AssayError):
    """The image's tag could not be resolved to a digest."""

class DeploymentError(AssayError):
    """The job was ordered, and its containers did not start."""

class JobError(AssayError):
    """The chain has no such job, or refused a call about it."""

class WorkerError(AssayError):
    """The worker of a job refused a request, or does not answer."""

class WaitTimeoutError(AssayError):
    """Something did not happen in the time that was given; it may still happen."""

class Client:
    """Connection to one chain, and the key of the account that pays."""

    def __new__(
        cls,
        endpoint: str,
        secret: Optional[str] = None,
        key_file: Optional[Union[str, PathLike[str]]] = None,
        password: Optional[str] = None,
    ) -> Client: ...
    @property
    def endpoint(self) -> str:
        """URL of the node."""
    @property
    def address(self) -> str:
        """Address of the account that pays."""
    @property
    def genesis_hash(self) -> str:
        """Hash of the chain's first block."""
    def balance(self) -> str:
        """Returns the account's balances in ASY, as JSON."""

class Logs:
    """Log of a job's container, as it is written."""

    def next_piece(self) -> Optional[Tuple[str, int, bytes]]:
        """Waits for the next piece: its stream, its time in milliseconds since 1970, and its bytes; None at the end."""
    def close(self) -> None:
        """Ends the worker's token for the log."""

def find(client: Client, requirements: str) -> str:
    """Returns providers that have enough machines that meet the requirements, best first, as JSON."""

def explain(client: Client, requirements: str) -> str:
    """Returns the machines that meet the requirements, and those that do not with the reasons, as JSON."""

def quote(client: Client, order: str) -> str:
    """Returns the cost of an order on the machines that would be chosen now, in ASY, as JSON."""

def deploy(
    client: Client,
    order: str,
    on_progress: Optional[Callable[[str], object]] = None,
    keep: Optional[Union[str, PathLike[str]]] = None,
) -> str:
    """Orders a job, delivers its manifest, and returns when its containers run, as JSON."""

def deploy_file(
    client: Client,
    path: Union[str, PathLike[str]],
    provider_id: Optional[str] = None,
    on_progress: Optional[Callable[[str], object]] = None,
    keep: Optional[Union[str, PathLike[str]]] = None,
) -> str:
    """Places the order of a `compute-manifest.yaml`; as `deploy`."""

def deliver(client: Client, job: int, path: Union[str, PathLike[str]]) -> List[int]:
    """Delivers the manifest of a file that a deployment kept to all machines of a job, and returns their numbers."""

def check_requirements(requirements: str) -> str:
    """Checks requirements without any chain, and returns them as the chain has them, as JSON."""

def check_order(order: str) -> List[str]:
    """Checks an order without any chain, and returns what it means, one fact a line."""

def check_file(path: Union[str, PathLike[str]]) -> List[str]:
    """Checks a `compute-manifest.yaml` without any chain, and returns what it means, one fact a line."""

def jobs(client: Client) -> str:
    """Returns the account's open jobs, as JSON."""

def wait(client: Client, job: int, machines: List[int], timeout_ms: Optional[int] = None) -> str:
    """Waits until a job's containers have ended on these machines, and returns what became of them, as JSON."""

def close(client: Client, job: int) -> int:
    """Ends a job, and returns the number of the block."""

def extend(client: Client, job: int, by_ms: int) -> int:
    """Lets a job run longer, and returns the number of the block."""

def accept(client: Client, job: int, machines: List[int]) -> int:
    """Accepts a task's result of these machines, and returns the number of the block."""

def status(client: Client, job: int, machine: Optional[int] = None) -> str:
    """Returns a job's status as its worker signs it, as JSON."""

def result(client: Client, job: int, machine: Optional[int] = None) -> str:
    """Returns a finished task's result as its worker has it, as JSON."""

def follow_logs(
    client: Client,
    job: int,
    machine: Optional[int] = None,
    only: Optional[str] = None,
    since_ms: Optional[int] = None,
    tail: Optional[int] = None,
) -> Logs:
    """Begins to follow a job's log."""

def read_logs(
    client: Client,
    job: int,
    machine: Optional[int] = None,
    only: Optional[str] = None,
    since_ms: Optional[int] = None,
    tail: Optional[int] = None,
) -> bytes:
    """Returns what the worker keeps of a job's log."""

def exec(
    client: Client, job: int, command: List[str], input: bytes, machine: Optional[int] = None
) -> Tuple[int, bytes, bytes]:
    """Runs a command in a job's container; returns its exit code, standard output and standard error."""

def artifacts(client: Client, job: int, machine: Optional[int] = None) -> str:
    """Returns the list of a job's output folder, as JSON."""

def download_artifacts(
    client: Client,
    job: int,
    folder: Union[str, PathLike[str]],
    max_bytes: int,
    machine: Optional[int] = None,
    on_progress: Optional[Callable[[int, int], object]] = None,
) -> str:
    """Downloads a job's output folder to a new folder, checked by the result's hashes."""

def ports(client: Client, job: int, machine: Optional[int] = None) -> str:
    """Returns a job's published ports and where they are reached, as JSON."""
