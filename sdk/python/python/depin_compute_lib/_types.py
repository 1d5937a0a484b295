"""Values that the client returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Dict, List, Optional, Tuple


@dataclass(frozen=True)
class Machine:
    """A machine as the market shows it."""

    id: int
    """Its number on chain."""
    price: Decimal
    """ASY for each slot and hour; where a raise is announced, that."""
    uptime: Decimal
    """Average uptime in percent, as validators saw it."""
    region: str
    """Region code, such as ``us-east``."""
    gpu_type: str
    """Hardware class, such as ``NVIDIA_H100``."""
    vram_gb: Decimal
    """Memory of one GPU in GiB."""
    free_slots: int
    """Slots that no job has leased."""
    endpoint: str
    """URL of its worker."""
    record: Dict[str, Any] = field(repr=False, compare=False)
    """Everything that the node says of it."""

    @classmethod
    def _of(cls, record: Dict[str, Any]) -> Machine:
        return cls(
            id=record["machine"],
            price=Decimal(record["price"]),
            uptime=Decimal(record["uptime_percent"]),
            region=record["region"],
            gpu_type=record["gpu_type"],
            vram_gb=Decimal(record["vram_mib"]) / 1024,
            free_slots=record["free_slots"],
            endpoint=record["endpoint"],
            record=record,
        )


@dataclass(frozen=True)
class Cluster:
    """Machines of one provider that meet the requirements, as many as were asked for."""

    id: str
    """Account of the provider: the ``provider_id`` of an order."""
    price: Decimal
    """Highest price of the machines, in ASY for each slot and hour."""
    uptime: Decimal
    """Lowest uptime of the machines, in percent."""
    region: str
    """Region of the machines; several are separated by commas."""
    machines: Tuple[Machine, ...]
    """The machines, best first."""

    @classmethod
    def _of(cls, record: Dict[str, Any]) -> Cluster:
        return cls(
            id=record["id"],
            price=Decimal(record["price"]),
            uptime=Decimal(record["uptime_percent"]),
            region=", ".join(record["regions"]),
            machines=tuple(Machine._of(machine) for machine in record["machines"]),
        )


@dataclass(frozen=True)
class PassedOver:
    """A machine that does not meet the requirements."""

    machine: int
    """Its number."""
    reasons: Tuple[str, ...]
    """Sentences about what it lacks."""


@dataclass(frozen=True)
class Explanation:
    """Reasons of a search. ``print`` it."""

    text: str
    """All of it, in words."""
    fitting: Tuple[int, ...]
    """Machines that meet the requirements."""
    passed_over: Tuple[PassedOver, ...]
    """Machines that do not."""

    def __str__(self) -> str:
        return self.text

    @classmethod
    def _of(cls, record: Dict[str, Any]) -> Explanation:
        return cls(
            text=record["text"],
            fitting=tuple(record["fitting"]),
            passed_over=tuple(
                PassedOver(machine=entry["machine"], reasons=tuple(entry["reasons"])) for entry in record["passed_over"]
            ),
        )


@dataclass(frozen=True)
class Estimate:
    """Exact cost of an order, in ASY, before anything is signed."""

    escrow: Decimal
    """The most that is paid: price by slots by the longest time, for all machines. What is not used comes back."""
    deposit: Optional[Decimal]
    """Held besides for bytes and bounties, and returned where it is not spent; None from a node that does not say."""
    fee: Decimal
    """Estimated fee of the transaction."""
    total: Decimal
    """What the account must have."""
    machines: Dict[int, Decimal]
    """The most that each machine can cost."""

    @classmethod
    def _of(cls, record: Dict[str, Any]) -> Estimate:
        deposit = record["deposit"]
        return cls(
            escrow=Decimal(record["escrow"]),
            deposit=None if deposit is None else Decimal(deposit),
            fee=Decimal(record["fee"]),
            total=Decimal(record["total"]),
            machines={machine["machine"]: Decimal(machine["cost"]) for machine in record["machines"]},
        )


@dataclass(frozen=True)
class Balance:
    """Balances of the account, in ASY."""

    free: Decimal
    """May be spent, but for what is frozen."""
    held: Decimal
    """Held for jobs and deposits."""
    frozen: Decimal
    """Part of ``free`` that may not be spent."""


@dataclass(frozen=True)
class LogLine:
    """Line of a container's output, without its end."""

    text: str
    """The line; bytes that are no text show as replacement characters."""
    stream: str
    """``stdout`` or ``stderr``; ``dropped`` where output is missing; empty where both were read as one."""
    time: Optional[float]
    """Seconds since 1970 at which the worker received its first piece; None where it is not told."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ExecResult:
    """Output of a command that has ended."""

    exit_code: int
    """Exit code."""
    stdout: bytes
    """Standard output."""
    stderr: bytes
    """Standard error."""


@dataclass(frozen=True)
class Artifact:
    """File or symbolic link of an output folder."""

    path: str
    """Path below the folder; ``base64:…`` where it is no text."""
    kind: str
    """``file`` or ``link``."""
    size: int
    """Size in bytes."""
    blake3: str
    """BLAKE3 of the content, hexadecimal."""


@dataclass(frozen=True)
class Port:
    """Published port of a job."""

    name: str
    """Name in the order."""
    protocol: str
    """``http``, ``tcp`` or ``udp``."""
    container_port: int
    """Port that the container listens on."""
    address: str
    """URL of an HTTP port; host and port of another one."""
    public: bool
    """True if an HTTP port needs no token."""


@dataclass(frozen=True)
class AssignmentEnd:
    """End of a machine's assignment of a job."""

    machine: int
    """The machine."""
    end: str
    """``result`` for a task's result that waits for its verdict, ``committed`` for a replica's, ``closed``, or the outcome."""
    result_hash: Optional[str]
    """Hash of the result as the chain has it."""


@dataclass(frozen=True)
class Result:
    """Result of a finished task, as its worker has it."""

    exit_code: int
    """Exit code of the container."""
    image_digest: str
    """Digest of the image that ran."""
    is_checked: bool
    """True if the fields have the hash that the worker names."""
    document: Dict[str, Any] = field(repr=False, compare=False)
    """All fields."""


def _artifacts(record: Dict[str, Any]) -> List[Artifact]:
    return [
        Artifact(
            path=entry.get("path") or "base64:" + entry.get("path_base64", ""),
            kind=entry["kind"],
            size=entry["size"],
            blake3=entry["blake3"],
        )
        for entry in record["entries"]
    ]
