"""Progress of long calls: one line in a terminal, and nothing elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import Any, Callable, Dict, Optional, TextIO, Union

Receiver = Union[bool, Callable[[Dict[str, Any]], object], None]
"""``None``: a line in a terminal only; ``False``: nothing; ``True``: always; or a function that gets each step."""


class Line:
    """One line of a terminal that is written over and over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = time.monotonic()
        self._is_shown = False

    def show(self, text: str) -> None:
        """Writes the text over what was there."""
        seconds = int(time.monotonic() - self._begun)
        width = max(shutil.get_terminal_size().columns - 1, 20)
        self._stream.write("\r\x1b[K" + f"[{seconds // 60}:{seconds % 60:02}] {text}"[:width])
        self._stream.flush()
        self._is_shown = True

    def end(self) -> None:
        """Ends the line."""
        if self._is_shown:
            self._stream.write("\n")
            self._stream.flush()


class Steps:
    """Receiver of a deployment's steps."""

    def __init__(self, receiver: Receiver) -> None:
        stream = sys.stderr
        is_wanted = receiver is True or (receiver is None and stream is not None and stream.isatty())
        self._line = Line(stream) if is_wanted else None
        self._receiver = receiver if callable(receiver) else None
        self.transaction: Optional[str] = None
        self.job: Optional[int] = None

    def __call__(self, text: str) -> None:
        step = json.loads(text)
        # Who is interrupted finds the job by these.
        self.transaction = step.get("transaction", self.transaction)
        self.job = step.get("job", self.job)
        if self._receiver is not None:
            self._receiver(step)
        if self._line is not None:
            self._line.show(step["text"])

    def end(self) -> None:
        """Ends the line in the terminal."""
        if self._line is not None:
            self._line.end()


class Bytes:
    """Receiver of a download's progress."""

    def __init__(self, receiver: Union[bool, Callable[[int, int], object], None]) -> None:
        stream = sys.stderr
        is_wanted = receiver is True or (receiver is None and stream is not None and stream.isatty())
        self._line = Line(stream) if is_wanted else None
        self._receiver = receiver if callable(receiver) else None

    def __call__(self, position: int, length: int) -> None:
        if self._receiver is not None:
            self._receiver(position, length)
        if self._line is not None:
            share = 100 * position // max(length, 1)
            self._line.show(f"{position / 2**20:.1f} of {length / 2**20:.1f} MiB ({share} %)")

    def end(self) -> None:
        """Ends the line in the terminal."""
        if self._line is not None:
            self._line.end()
