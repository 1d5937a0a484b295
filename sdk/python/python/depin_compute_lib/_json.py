"""Arguments of users as JSON, for the native part, which knows their names and bounds."""

from __future__ import annotations

import base64
import json
import math
import os
from decimal import Decimal
from typing import Any, Mapping

from ._core import InvalidOrderError


def dumps(value: Any) -> str:
    """Writes a value as JSON. Numbers keep every digit: a `Decimal` becomes a text."""
    return json.dumps(_plain(value, "the value"), allow_nan=False)


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidOrderError(f"{name}: {value} is not a number that can be used")
        return value
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidOrderError(f"{name}: {value} is not a number that can be used")
        return format(value, "f")
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidOrderError(f"{name}: {key!r} is not a text; names are texts")
        return {key: _plain(entry, key) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, name) for entry in value]
    # Not the value itself, which may be a secret.
    raise InvalidOrderError(
        f"{name}: a value of the type {type(value).__name__} cannot be used; "
        "allowed: text, number, True, False, list, dict"
    )
