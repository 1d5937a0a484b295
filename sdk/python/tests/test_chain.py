"""Against a chain with free machines, which ASSAY_ENDPOINT names; ASSAY_TEST_IMAGE names an image for them that
prints `hello` and then runs for a while."""

import asyncio
import os
import threading
from decimal import Decimal

import pytest

import depin_compute_lib as dcl

pytestmark = pytest.mark.chain


@pytest.fixture
def image() -> str:
    name = os.environ.get("ASSAY_TEST_IMAGE")
    if not name:
        pytest.skip("ASSAY_TEST_IMAGE names no image")
    return name


def test_unknown_class_is_an_error_and_what_nobody_has_an_empty_list(client: dcl.ComputeClient) -> None:
    with pytest.raises(dcl.InvalidOrderError):
        client.find_providers({"gpu_type": "NVIDIA_NONE"})
    nothing = {"max_price_per_hour": Decimal("0.000000000001")}
    assert client.find_providers(nothing) == []
    explanation = client.explain(nothing)
    assert explanation.fitting == () and "ASY per slot-hour" in str(explanation)


def test_container_is_deployed_and_read(client: dcl.ComputeClient, image: str) -> None:
    clusters = client.find_providers({"min_nodes": 1})
    assert clusters and isinstance(clusters[0].price, Decimal)
    estimate = client.estimate(clusters[0].id, max_duration=120)
    assert estimate.escrow > 0 and estimate.total > estimate.escrow
    seen: list = []
    with client.deploy_container(
        provider_id=clusters[0].id,
        image=image,
        env_vars={"NAME": "you"},
        kind="service",
        profile="interactive",
        max_duration=120,
        progress=seen.append,
    ) as deployment:
        steps = [step["step"] for step in seen]
        assert steps.index("submitted") < steps.index("ordered") < steps.index("started")
        assert deployment.image and "@sha256:" in deployment.image
        assert deployment.escrow == estimate.escrow
        assert deployment.status_url and deployment.status_url.endswith(f"/v1/jobs/{deployment.job}")
        assert deployment.job in [entry.job for entry in client.deployments()]
        for line in deployment.logs(follow=True):
            if "hello" in line.text:
                assert line.stream == "stdout" and line.time
                break
        assert deployment.exec(["echo", "inside"]).stdout == b"inside\n"
        assert deployment.exec("exit 3").exit_code == 3
        deployment.extend(60)
    ends = deployment.wait(timeout=60)
    assert [end.machine for end in ends] == list(deployment.machines)


def test_clients_of_one_key_use_no_nonce_twice(endpoint: str) -> None:
    failures: list = []

    def close_nothing() -> None:
        try:
            dcl.ComputeClient("//Charlie", endpoint=endpoint).deployment(2**63).close()
        except dcl.JobError as error:
            # It came into a block and failed there, as it should: there is no such job.
            if "NoSuchJob" not in str(error):
                failures.append(str(error))
        except dcl.AssayError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=close_nothing) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert not failures


def test_asyncio_finds_the_same(endpoint: str, client: dcl.ComputeClient) -> None:
    async def find() -> list:
        async with dcl.AsyncComputeClient("//Charlie", endpoint=endpoint) as other:
            first, second = await asyncio.gather(other.find_providers({}), other.balance())
            assert second.free > 0
            return first

    assert [cluster.id for cluster in asyncio.run(find())] == [cluster.id for cluster in client.find_providers({})]
