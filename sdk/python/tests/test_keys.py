"""Keys are read in every form, and what is no key is refused with the reason."""

import json

import pytest
from conftest import NOWHERE

import depin_compute_lib as dcl

SEED = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a"
PHRASE = "legal winner thank year wave sausage worth useful legal winner thank yellow"

# Key of a test, encrypted by polkadot.js with the password `whoisbob`.
POLKADOT_JS = {
    "encoded": (
        "J2FFcPHAY11Pmq/38eqbwfUv9OPitYJs+oYgahBvlagAAAIAAQAAAAgAAAB5o0DwXCWDblsH+9pc++RaBO4fpHBHzUirHFHFE9yS3sDzgAIQjhgv"
        "PqJ3ODrMR2gy7vk0VZg1fyirIvmsrfjGbWnOI8YU0joX0tYytroyWaykFKtZJMmE0pNKcJ5dJmDxscbK53Ac+7ld2UdH07yKPXxmPuYNNw3vKx8c"
        "g9CdQgifKfzQxHnC+EUpOoHPLwGlHsFEYtIlQtngqd9n"
    ),
    "encoding": {"content": ["pkcs8", "sr25519"], "type": ["scrypt", "xsalsa20-poly1305"], "version": "3"},
    "address": "5CfWTDh7XxJ2yrayqQ2aJnnZAH5v5XaF1oJFfH5QCpbfP9v8",
    "meta": {"name": "Bob (Dev)"},
}


@pytest.mark.parametrize("key", ["//Alice", SEED, "0x" + SEED, PHRASE, PHRASE + "//work"])
def test_keys_of_every_form_are_read(key: str) -> None:
    with pytest.raises(dcl.ConnectError, match="no node answers"):
        dcl.ComputeClient(private_key=key, endpoint=NOWHERE)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "empty"),
        ("0x" + "ab" * 20, "Ethereum-style"),
        ("ab" * 20, "20 bytes"),
        ("0xabcd", "64"),
        ("5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty", "an address is no key"),
        ("these words are no phrase", "not valid"),
    ],
)
def test_what_is_no_key_is_refused_with_the_reason(key: str, reason: str) -> None:
    with pytest.raises(dcl.InvalidKeyError, match=reason) as caught:
        dcl.ComputeClient(private_key=key, endpoint=NOWHERE)
    assert not key or key not in str(caught.value)


def test_no_key_and_two_keys_are_errors(tmp_path) -> None:
    with pytest.raises(dcl.InvalidKeyError, match="no key is given"):
        dcl.ComputeClient(endpoint=NOWHERE)
    with pytest.raises(dcl.InvalidKeyError, match="keep one"):
        dcl.ComputeClient("//Alice", key_file=tmp_path / "key", endpoint=NOWHERE)
    with pytest.raises(dcl.InvalidKeyError, match="it is bytes"):
        dcl.ComputeClient(b"//Alice", endpoint=NOWHERE)  # type: ignore[arg-type]


def test_file_of_polkadot_js_is_opened_by_its_password(tmp_path) -> None:
    path = tmp_path / "bob.json"
    path.write_text(json.dumps(POLKADOT_JS))
    with pytest.raises(dcl.ConnectError):
        dcl.ComputeClient(key_file=path, password="whoisbob", endpoint=NOWHERE)
    with pytest.raises(dcl.InvalidKeyError, match="password is wrong"):
        dcl.ComputeClient(key_file=str(path), password="whoisalice", endpoint=NOWHERE)


def test_key_file_must_be_its_owner_s_alone(tmp_path) -> None:
    path = tmp_path / "key"
    path.write_text("0x" + SEED)
    path.chmod(0o600)
    with pytest.raises(dcl.ConnectError):
        dcl.ComputeClient(key_file=path, endpoint=NOWHERE)
    path.chmod(0o644)
    with pytest.raises(dcl.InvalidKeyError, match="chmod 600"):
        dcl.ComputeClient(key_file=path, endpoint=NOWHERE)


def test_endpoint_is_an_argument_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_ENDPOINT", raising=False)
    with pytest.raises(dcl.ConnectError, match="ASSAY_ENDPOINT"):
        dcl.ComputeClient("//Alice")
    monkeypatch.setenv("ASSAY_ENDPOINT", NOWHERE)
    with pytest.raises(dcl.ConnectError, match="127.0.0.1:9"):
        dcl.ComputeClient("//Alice")
    with pytest.raises(dcl.ConnectError, match="is not the URL of a node"):
        dcl.ComputeClient("//Alice", endpoint="http://127.0.0.1:9944")
