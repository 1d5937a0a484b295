"""A job that was ordered."""

from __future__ import annotations

import json
import os
import time
from decimal import Decimal
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

from . import _core
from ._progress import Bytes
from ._types import Artifact, AssignmentEnd, ExecResult, LogLine, Port, Result, _artifacts

_GIB = 1 << 30

Command = Union[str, Sequence[str]]
"""Words of a command; one text is run by ``/bin/sh -c``."""


def milliseconds(name: str, seconds: Union[int, float, Decimal]) -> int:
    """Returns a time in whole milliseconds."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, Decimal)):
        raise _core.InvalidOrderError(f"{name}: it is {type(seconds).__name__}; allowed: seconds as a number")
    if not 0 <= seconds <= 10**9:
        raise _core.InvalidOrderError(f"{name}: it is {seconds}; allowed: 0 to 10**9 seconds")
    return int(Decimal(str(seconds)) * 1000)


class Lines:
    """Lines of a log, made of pieces as they come: those of standard output and standard error apart."""

    def __init__(self) -> None:
        self._pending: Dict[str, Tuple[bytes, Optional[float]]] = {}

    def add(self, stream: str, time_s: Optional[float], piece: bytes) -> Iterator[LogLine]:
        """Takes a piece, and returns the lines that it ends."""
        if stream == "dropped":
            yield from self.rest()
            yield LogLine(text="", stream="dropped", time=time_s)
            return
        before, begun = self._pending.pop(stream, (b"", None))
        *ended, last = (before + piece).split(b"\n")
        for line in ended:
            yield _line(line, stream, begun if begun is not None else time_s)
            # The next line begins in this piece.
            begun = None
        if last:
            self._pending[stream] = (last, begun if begun is not None else time_s)

    def rest(self) -> Iterator[LogLine]:
        """Returns what came without an end of its line."""
        pending, self._pending = self._pending, {}
        for stream, (line, begun) in pending.items():
            yield _line(line, stream, begun)


def _line(line: bytes, stream: str, time_s: Optional[float]) -> LogLine:
    text = line.decode("utf-8", errors="replace")
    return LogLine(text=text[:-1] if text.endswith("\r") else text, stream=stream, time=time_s)


class Deployment:
    """A job that was ordered, and the way to its machines.

    As a context manager it closes the job at the end of the block::

        with client.deploy_container(image="…") as deployment:
            print(deployment.ports())
    """

    def __init__(
        self,
        core: _core.Client,
        job: int,
        machines: Sequence[int] = (),
        record: Optional[Dict[str, Any]] = None,
    ) -> None:
        record = record or {}
        self._core = core
        self.job: int = job
        """Number of the job."""
        self.machines: Tuple[int, ...] = tuple(machines)
        """Numbers of the machines; none where they are not known."""
        self.image: Optional[str] = record.get("image")
        """The image, with the digest that the order has."""
        self.transaction: Optional[str] = record.get("transaction")
        """Hash of the transaction that ordered the job."""
        escrow = record.get("escrow")
        self.escrow: Optional[Decimal] = None if escrow is None else Decimal(escrow)
        """ASY that are held for the price at most."""
        self.status_urls: Dict[int, str] = {
            int(machine): url for machine, url in record.get("status_urls", {}).items()
        }
        """URL of the job at the worker of each machine. Requests to it need the owner's token."""

    @property
    def status_url(self) -> Optional[str]:
        """URL of the job at the worker of its first machine. Requests to it need the owner's token."""
        for machine in self.machines:
            if machine in self.status_urls:
                return self.status_urls[machine]
        return None

    def __repr__(self) -> str:
        return f"Deployment(job={self.job}, machines={list(self.machines)}, image={self.image!r})"

    def __enter__(self) -> Deployment:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            self.close()
        except _core.JobError:
            # A task that runs is not stopped, and one that has ended has nothing to close.
            pass

    def status(self, machine: Optional[int] = None) -> Dict[str, Any]:
        """Returns the job's status as its worker signs it."""
        return dict(json.loads(_core.status(self._core, self.job, self._machine(machine))))

    def deliver(self, path: Union[str, os.PathLike[str]]) -> Tuple[int, ...]:
        """Delivers the sealed manifest again, as after a machine's keys were rotated, and returns the machines' numbers.

        :param path: the file that ``keep`` of the deployment named.
        """
        return tuple(_core.deliver(self._core, self.job, path))

    def wait(self, timeout: Optional[float] = None) -> List[AssignmentEnd]:
        """Waits until the job's containers have ended, and returns what became of them.

        :param timeout: seconds; `WaitTimeoutError` after them.
        """
        timeout_ms = None if timeout is None else milliseconds("timeout", timeout)
        ends = json.loads(_core.wait(self._core, self.job, list(self.machines), timeout_ms))
        return [AssignmentEnd(**end) for end in ends]

    def result(self, machine: Optional[int] = None) -> Result:
        """Returns the result of a task that has ended, with its exit code."""
        record = json.loads(_core.result(self._core, self.job, self._machine(machine)))
        document = record["document"]
        return Result(
            exit_code=document["exit_code"],
            image_digest=document["image_digest"],
            is_checked=record["is_checked"],
            document=document,
        )

    def accept(self) -> None:
        """Accepts a task's result, so that it is paid before the time to look at it is over."""
        _core.accept(self._core, self.job, list(self.machines))

    def logs(
        self,
        follow: bool = False,
        *,
        machine: Optional[int] = None,
        stream: Optional[str] = None,
        since: Optional[float] = None,
        tail: Optional[int] = None,
    ) -> Iterator[LogLine]:
        """Returns the lines of the container's output.

        :param follow: goes on until the job's last container has ended; lines have their time and stream then.
        :param machine: number of the machine; may be left out if the job has one.
        :param stream: ``"stdout"`` or ``"stderr"``; both if it is left out.
        :param since: only output of the last so many seconds.
        :param tail: only so many last lines of what is there.
        """
        machine = self._machine(machine)
        since_ms = None
        if since is not None:
            since_ms = max(int(time.time() * 1000) - milliseconds("since", since), 0)
        if follow:
            return self._follow(machine, stream, since_ms, tail)
        return self._read(machine, stream, since_ms, tail)

    def _follow(
        self, machine: Optional[int], stream: Optional[str], since_ms: Optional[int], tail: Optional[int]
    ) -> Iterator[LogLine]:
        log = _core.follow_logs(self._core, self.job, machine, stream, since_ms, tail)
        lines = Lines()
        try:
            while True:
                piece = log.next_piece()
                if piece is None:
                    break
                name, time_ms, content = piece
                yield from lines.add(name, time_ms / 1000, content)
            yield from lines.rest()
        finally:
            log.close()

    def _read(
        self, machine: Optional[int], stream: Optional[str], since_ms: Optional[int], tail: Optional[int]
    ) -> Iterator[LogLine]:
        lines = Lines()
        content = _core.read_logs(self._core, self.job, machine, stream, since_ms, tail)
        yield from lines.add(stream or "", None, content)
        yield from lines.rest()

    def exec(
        self, command: Command, *, input: Union[bytes, str] = b"", machine: Optional[int] = None
    ) -> ExecResult:
        """Runs a command in the container, whose profile must be ``interactive``, and returns its output.

        :param command: words of the command; one text is run by ``/bin/sh -c``.
        :param input: its standard input.
        """
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        content = input.encode() if isinstance(input, str) else bytes(input)
        exit_code, stdout, stderr = _core.exec(self._core, self.job, words, content, self._machine(machine))
        return ExecResult(exit_code=exit_code, stdout=stdout, stderr=stderr)

    def artifacts(self, machine: Optional[int] = None) -> List[Artifact]:
        """Returns the files of the output folder."""
        return _artifacts(json.loads(_core.artifacts(self._core, self.job, self._machine(machine))))

    def download(
        self,
        folder: Union[str, os.PathLike[str]],
        *,
        machine: Optional[int] = None,
        max_bytes: int = 16 * _GIB,
        progress: Union[bool, Callable[[int, int], object], None] = None,
    ) -> Dict[str, Any]:
        """Downloads the output folder to a new folder, which stays only if its hash is that of the result.

        :param max_bytes: most to download.
        :param progress: ``None``: a line in a terminal only; ``False``: nothing; or a function that gets the number of
            bytes that came and that of all.
        :return: ``root``, ``compared_with`` (``chain``, ``worker`` or ``none``), ``files``, ``links``, ``bytes``.
        """
        receiver = Bytes(progress)
        try:
            text = _core.download_artifacts(
                self._core, self.job, os.fspath(folder), max_bytes, self._machine(machine), receiver
            )
        finally:
            receiver.end()
        return dict(json.loads(text))

    def ports(self, machine: Optional[int] = None) -> List[Port]:
        """Returns the published ports, and where they are reached; none while the job does not run."""
        return [Port(**port) for port in json.loads(_core.ports(self._core, self.job, self._machine(machine)))]

    def extend(self, seconds: Union[int, float, Decimal]) -> None:
        """Lets the job run so much longer; its cost is held at once."""
        _core.extend(self._core, self.job, milliseconds("seconds", seconds))

    def close(self) -> None:
        """Ends the job: cancels what has not started, and ends a service. A task that runs is not stopped."""
        _core.close(self._core, self.job)

    def _machine(self, machine: Optional[int]) -> Optional[int]:
        if machine is None and len(self.machines) == 1:
            return self.machines[0]
        return machine
