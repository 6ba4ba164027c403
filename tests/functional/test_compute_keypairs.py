"""Key pairs over HTTP: import, generation, fingerprints, whose they are, pages, quota."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from kilonova.api.compute.key_material import generate
from kilonova.database.keypairs import find_keypair
from kilonova.database.quotas import set_limits
from tests.functional.compute_api import NOW, Api, compute_api

PATH = "/os-keypairs"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxHzzmoH0pQQIYmTQhaZPlHf53NKUi9yTMmZ1Un5tKm someone@somewhere"
MD5 = "72:83:20:ce:a1:68:8a:d6:6b:bf:f3:44:00:84:58:f6"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        yield found


def key(**values: Any) -> dict[str, Any]:
    return {"keypair": {"name": "mine", "public_key": ED25519, **values}}


@pytest.mark.parametrize(("version", "made", "gone"), [(1, 200, 202), (2, 201, 204), (10, 201, 204), (104, 201, 204)])
async def test_import_show_delete(api: Api, version: int, made: int, gone: int) -> None:
    answer = await api("nobody", f"POST {PATH}", version, key())
    assert answer.status_code == made
    view = answer.json()["keypair"]
    assert (view["fingerprint"], view["public_key"], view["user_id"]) == (MD5, ED25519, "u-nobody")
    assert "private_key" not in view
    assert ("type" in view) == (version >= 2)
    shown = (await api("nobody", f"GET {PATH}/mine", version)).json()["keypair"]
    assert (shown["deleted"], shown["user_id"]) == (False, "u-nobody")
    assert (await api("nobody", f"DELETE {PATH}/mine", version)).status_code == gone
    assert (await api("nobody", f"DELETE {PATH}/mine", version)).status_code == 404
    assert (await api("nobody", f"GET {PATH}/mine", version)).status_code == 404


async def test_a_generated_key_is_handed_out_once(api: Api) -> None:
    view = (await api("member", f"POST {PATH}", 2, {"keypair": {"name": "made"}})).json()["keypair"]
    private = serialization.load_pem_private_key(view["private_key"].encode(), None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert view["public_key"].startswith(public.decode())
    assert "private" not in (await api("member", f"GET {PATH}/made", 2)).text.lower()
    kept = await api.database.run(find_keypair, "u-member", "made")
    assert kept is not None
    assert "PRIVATE" not in repr(kept)


async def test_certificates(api: Api) -> None:
    view = (await api("member", f"POST {PATH}", 2, {"keypair": {"name": "win", "type": "x509"}})).json()["keypair"]
    archive = pkcs12.load_pkcs12(base64.b64decode(view["private_key"]), None)
    assert archive.cert is not None
    assert (view["type"], len(view["fingerprint"])) == ("x509", 59)
    again = key(name="imported", type="x509", public_key=view["public_key"])
    assert (await api("member", f"POST {PATH}", 2, again)).json()["keypair"]["fingerprint"] == view["fingerprint"]


@pytest.mark.parametrize(
    ("version", "values"),
    [
        (1, {"public_key": "ssh-ed25519 nonsense"}),
        (1, {"public_key": "ssh-rsa"}),
        (1, {"public_key": ""}),
        (1, {"public_key": None}),
        (1, {"public_key": "ä"}),
        (1, {"type": "ssh"}),
        (2, {"type": "pgp"}),
        (2, {"type": "x509"}),
        (2, {"user_id": "u-member"}),
        (1, {"name": ""}),
        (1, {"name": "x" * 256}),
        (1, {"name": "a/b"}),
        (1, {"name": " a"}),
        (1, {"name": None}),
        (91, {"name": "a@b.c"}),
        (92, {"name": "a/b"}),
    ],
)
async def test_bad_input_stores_nothing(api: Api, version: int, values: dict[str, Any]) -> None:
    assert (await api("member", f"POST {PATH}", version, key(**values))).status_code == 400
    assert (await api("member", f"GET {PATH}")).json() == {"keypairs": []}


async def test_names_and_generation_at_2_92(api: Api) -> None:
    assert (await api("member", f"POST {PATH}", 92, {"keypair": {"name": "made"}})).status_code == 400
    assert (await api("member", f"POST {PATH}", 92, key(name="a@b.c"))).status_code == 201
    assert (await api("member", f"GET {PATH}/a@b.c", 92)).status_code == 200


async def test_a_name_is_taken_once_per_user(api: Api) -> None:
    assert (await api("member", f"POST {PATH}", 2, key())).status_code == 201
    assert (await api("member", f"POST {PATH}", 2, key())).status_code == 409
    assert (await api("other", f"POST {PATH}", 2, key())).status_code == 201


async def test_other_users_keys_are_for_administrators(api: Api) -> None:
    assert (await api("member", f"POST {PATH}", 10, key(user_id="u-other"))).status_code == 403
    assert (await api("admin", f"POST {PATH}", 10, key(user_id="u-other"))).status_code == 201
    assert (await api("other", f"GET {PATH}/mine", 10)).status_code == 200
    assert (await api("member", f"GET {PATH}/mine?user_id=u-other", 10)).status_code == 403
    assert (await api("member", f"GET {PATH}?user_id=u-other", 10)).status_code == 403
    assert (await api("member", f"DELETE {PATH}/mine?user_id=u-other", 10)).status_code == 403
    assert (await api("member", f"GET {PATH}/mine?user_id=u-member", 10)).status_code == 404
    assert (await api("admin", f"GET {PATH}/mine", 10)).status_code == 404
    assert (await api("admin", f"GET {PATH}/mine?user_id=u-other", 9)).status_code == 404
    assert (await api("admin", f"GET {PATH}/mine?user_id=u-other", 10)).status_code == 200
    assert (await api("admin", f"DELETE {PATH}/mine?user_id=u-other", 10)).status_code == 204


async def test_pages(api: Api) -> None:
    for name in ("c", "a", "b"):
        await api("member", f"POST {PATH}", 2, key(name=name))

    async def names(query: str, version: int) -> list[str]:
        entries = (await api("member", f"GET {PATH}{query}", version)).json()["keypairs"]
        return [entry["keypair"]["name"] for entry in entries]

    assert await names("?limit=1", 34) == ["a", "b", "c"]
    assert await names("?limit=2", 35) == ["a", "b"]
    assert await names("?limit=2&marker=b", 35) == ["c"]
    answer = (await api("member", f"GET {PATH}?limit=2", 35)).json()
    assert "marker=b" in answer["keypairs_links"][0]["href"]
    assert (await api("member", f"GET {PATH}?marker=none", 35)).status_code == 400
    assert (await api("member", f"GET {PATH}?limit=x", 35)).status_code == 400
    assert (await api("member", f"GET {PATH}?x=1", 74)).status_code == 200
    assert (await api("member", f"GET {PATH}?x=1", 75)).status_code == 400


async def test_quota(api: Api) -> None:
    await api.database.run(set_limits, "p-one", {"key_pairs": 1})
    assert (await api("member", f"POST {PATH}", 2, key(name="one"))).status_code == 201
    for body in (key(name="two"), {"keypair": {"name": "two"}}):
        assert (await api("member", f"POST {PATH}", 2, body)).status_code == 403
    assert (await api("reader", f"POST {PATH}", 2, key(name="two"))).status_code == 201


def test_pairs_differ() -> None:
    assert generate("ssh", "u", NOW)[0] != generate("ssh", "u", NOW)[0]
