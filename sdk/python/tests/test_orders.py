"""Requirements and orders: exact prices, and errors that say what is allowed."""

import json
from decimal import Decimal

import pytest

import depin_compute_lib as dcl
from depin_compute_lib import _core
from depin_compute_lib._json import dumps


def requirements(**values) -> dict:
    return json.loads(_core.check_requirements(dumps(values)))


def test_requirements_of_the_readme_are_understood() -> None:
    wanted = requirements(
        gpu_type="NVIDIA_H100", min_vram_gb=80, min_nodes=4, region="us-east", max_price_per_hour=2.50
    )
    assert wanted["gpu_type"] == "NVIDIA_H100"
    assert wanted["min_vram_mib"] == 81_920
    assert wanted["min_nodes"] == 4
    assert wanted["max_price_per_slot_hour"] == "2500000000000"


@pytest.mark.parametrize(
    ("price", "plancks"),
    [
        (0.1, 100_000_000_000),
        (Decimal("0.1"), 100_000_000_000),
        (Decimal("1E-12"), 1),
        ("2.5", 2_500_000_000_000),
        (1e-05, 10_000_000),
        (3, 3_000_000_000_000),
    ],
)
def test_prices_mean_the_number_that_is_written(price, plancks: int) -> None:
    assert requirements(max_price_per_hour=price)["max_price_per_slot_hour"] == str(plancks)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"min_vram": 80}, "Did you mean min_vram_gb"),
        ({"gpu_type": 7}, "a number, and not a text"),
        ({"min_nodes": 0}, "from 1 to 64"),
        ({"min_nodes": "4"}, "it is a text"),
        ({"min_nodes": True}, "whole numbers"),
        ({"max_price_per_hour": "2.50 USD"}, "the rate of a source"),
        ({"max_price_per_hour": float("nan")}, "max_price_per_hour"),
        ({"max_price_per_hour": -1}, "max_price_per_hour"),
        ({"region": {"us-east"}}, "type set"),
        ({"near": {"latitude": 91, "longitude": 0, "within_km": 1}}, "-90 to 90"),
        ({"tee": "tpm"}, "sev-snp"),
    ],
)
def test_wrong_requirements_say_what_is_allowed(values: dict, reason: str) -> None:
    with pytest.raises(dcl.InvalidOrderError, match=reason):
        requirements(**values)


def test_order_is_described_in_words() -> None:
    order = {
        "image": "registry.example/team/finetune:v2.4",
        "env_vars": {"DATASET_URL": "https://example.org"},
        "requirements": {"min_nodes": 4},
        "max_duration": "2h",
    }
    text = "\n".join(_core.check_order(dumps(order)))
    assert "registry.example/team/finetune" in text
    assert "4 machines" in text


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({}, "names an image"),
        ({"image": "Not An Image"}, "not valid"),
        ({"image": "a", "cpus": 4}, "not known"),
        ({"image": "a", "command": "echo"}, "a list of texts"),
        ({"image": "a", "kind": "daemon"}, "task"),
        ({"image": "a", "max_duration": 1}, "time limit"),
        ({"image": "a", "verification": "quorum"}, "replicas"),
    ],
)
def test_wrong_orders_say_what_is_allowed(order: dict, reason: str) -> None:
    with pytest.raises(dcl.InvalidOrderError, match=reason):
        _core.check_order(dumps(order))


def test_secrets_are_not_shown_in_errors() -> None:
    with pytest.raises(dcl.InvalidOrderError) as caught:
        _core.check_order(dumps({"image": "a", "secrets": {"token": ["a-word"]}}))
    assert "a-word" not in str(caught.value)
    with pytest.raises(dcl.InvalidOrderError) as caught:
        dumps({"secrets": {"token": object()}})
    assert "object at" not in str(caught.value)


def test_file_of_an_order_tells_its_problems_with_their_lines(tmp_path) -> None:
    path = tmp_path / "compute-manifest.yaml"
    path.write_text("version: 1\nimage: registry.example/team/finetune:v2.4\nnodes: 2\n")
    assert any("2 machines" in line for line in _core.check_file(path))
    path.write_text("version: 1\nimage: a\nnodse: 2\n")
    with pytest.raises(dcl.InvalidOrderError, match="line 3"):
        _core.check_file(path)


def test_errors_have_one_base_class() -> None:
    errors = [value for value in vars(dcl).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(errors) == 11
    assert all(issubclass(error, dcl.AssayError) for error in errors)
