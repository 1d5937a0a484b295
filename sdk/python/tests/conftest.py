"""What the tests share."""

import os

import pytest

import depin_compute_lib as dcl

# Nothing listens on this port, so a client with a valid key fails to connect, and one with another key fails before.
NOWHERE = "ws://127.0.0.1:9"


@pytest.fixture
def endpoint() -> str:
    """Endpoint of a chain with free machines."""
    url = os.environ.get("ASSAY_ENDPOINT")
    if not url:
        pytest.skip("ASSAY_ENDPOINT names no chain")
    return url


@pytest.fixture
def client(endpoint: str) -> dcl.ComputeClient:
    """Client with the key of a development account."""
    return dcl.ComputeClient(private_key="//Charlie", endpoint=endpoint)
