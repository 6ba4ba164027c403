"""Requests whose shape Nova accepts or refuses: found by holding our answers against its schemas."""

from pathlib import Path
from typing import Any

import pytest

from tests.functional.compute_api import compute_api
from tests.functional.front_door import UNKNOWN, front_door
from tests.functional.test_compute_images import ask
from tests.functional.test_foreign_objects import things

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHzrgxMGIU4Z6u4jTPXUPJRNMkZcXJbAoAbTs0vVKnwX a@b"


async def test_an_address_has_one_way_of_writing(tmp_path: Path) -> None:
    async with front_door(tmp_path) as door:
        mine = await things(door)
        url, headers = f"/compute/v2.1/servers/{mine['server']}", {"x-auth-token": door.tokens["member"]}
        body = {"server": {"accessIPv6": "::babe:220.12.22.2", "accessIPv4": "10.0.0.1"}}
        changed = await door.http.put(url, json=body, headers=headers)
        assert changed.json()["server"]["accessIPv6"] == "::babe:dc0c:1602"
        image = (await door.http.get(url, headers=headers)).json()["server"]["image"]["id"]
        body = {"server": {"name": "b", "imageRef": image, "flavorRef": "1", "accessIPv6": "2001:DB8:0:0::1"}}
        made = (await door.http.post("/compute/v2.1/servers", json=body, headers=headers)).json()["server"]["id"]
        shown = (await door.http.get(f"/compute/v2.1/servers/{made}", headers=headers)).json()["server"]
        assert shown["accessIPv6"] == "2001:db8::1"
        refused = await door.http.put(url, json={"server": {"accessIPv6": ""}}, headers=headers)
        assert refused.status_code == 400


@pytest.mark.parametrize(
    "options",
    [{"config_drive": "ON"}, {"return_reservation_id": "Off"}, {"adminPass": "x" * 256}],
    ids=["config_drive", "return_reservation_id", "adminPass"],
)
async def test_a_create_may_be_written_in_all_of_novas_ways(tmp_path: Path, options: dict[str, Any]) -> None:
    async with front_door(tmp_path) as door:
        mine = await things(door)
        body = {"server": {"name": "b", "imageRef": mine["image_id"], "flavorRef": "1", **options}}
        answer = await door.http.post(
            "/compute/v2.1/servers", json=body, headers={"x-auth-token": door.tokens["member"]}
        )
        assert answer.status_code == 202, answer.text


async def test_ids_of_the_identity_service_are_told_from_nonsense(tmp_path: Path) -> None:
    async with compute_api(tmp_path) as api:
        private = {"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}}
        flavor = (await api("admin", "POST /flavors", body=private)).json()["flavor"]["id"]
        for project in ("10.11.12.13", "x" * 65, "é"):
            body = {"addTenantAccess": {"tenant": project}}
            refused = await api("admin", f"POST /flavors/{flavor}/action", body=body)
            assert refused.status_code == 400
            assert refused.json()["badRequest"]["message"].endswith("is not a valid project.")
        assert (await api("admin", f"GET /flavors/{flavor}/os-flavor-access")).json() == {"flavor_access": []}
        body = {"keypair": {"name": "k", "public_key": KEY, "user_id": "10.11.12.13"}}
        refused = await api("admin", "POST /os-keypairs", 10, body)
        assert refused.json()["badRequest"]["message"] == "User ID 10.11.12.13 is not a valid user."
        assert (await api("admin", "GET /os-keypairs?user_id=%20", 10)).status_code == 400


async def test_an_empty_key_is_no_key(tmp_path: Path) -> None:
    async with compute_api(tmp_path) as api:
        refused = await api("member", "POST /os-keypairs", body={"keypair": {"name": "k", "public_key": ""}})
        assert refused.status_code == 400
        assert (await api("member", "GET /os-keypairs")).json() == {"keypairs": []}


_REBUILD: dict[str, Any] = {"imageRef": UNKNOWN}
_CREATE: dict[str, Any] = {"name": "b", "imageRef": UNKNOWN, "flavorRef": "1"}
_BACKUP: dict[str, Any] = {"name": "b", "backup_type": "daily", "rotation": 1}
_LARGE = 2**31


@pytest.mark.parametrize(
    ("call", "version", "body"),
    [
        ("POST /servers", 1, {"server": {**_CREATE, "networks": [{"uuid": "no-uuid"}]}}),
        ("POST /servers", 1, {"server": {**_CREATE, "user_data": "10.11.12.13"}}),
        ("POST /servers", 1, {"server": {**_CREATE, "personality": [{"path": "/a", "contents": "10.11.12.13"}]}}),
        ("POST /servers", 63, {"server": {**_CREATE, "networks": "none", "trusted_image_certificates": ["x" * 256]}}),
        ("POST /servers/{}/action", 1, {"resize": {"flavorRef": "x" * 256}}),
        ("POST /servers/{}/action", 91, {"unshelve": {"availability_zone": "x" * 256, "host": "y" * 256}}),
        ("POST /servers/{}/action", 14, {"evacuate": {"adminPass": "x" * 256}}),
        ("POST /servers/{}/action", 1, {"rebuild": {**_REBUILD, "preserve_ephemeral": "on"}}),
        ("POST /servers/{}/action", 1, {"rebuild": {**_REBUILD, "adminPass": "x" * 256}}),
        ("POST /servers/{}/action", 54, {"rebuild": {**_REBUILD, "key_name": None}}),
        ("POST /servers/{}/action", 57, {"rebuild": {**_REBUILD, "user_data": "10.11.12.13"}}),
        ("POST /servers/{}/action", 57, {"rebuild": {**_REBUILD, "user_data": None}}),
        ("POST /servers/{}/action", 63, {"rebuild": {**_REBUILD, "trusted_image_certificates": ["x" * 256]}}),
        ("POST /servers/{}/action", 63, {"rebuild": {**_REBUILD, "trusted_image_certificates": None}}),
        ("POST /servers/{}/action", 1, {"createBackup": {**_BACKUP, "rotation": _LARGE}}),
        ("POST /servers/{}/action", 1, {"createBackup": {**_BACKUP, "backup_type": "x" * 256}}),
        ("POST /servers/{}/action", 1, {"addSecurityGroup": {"name": "x" * 256}}),
        ("POST /servers/{}/action", 1, {"removeSecurityGroup": {"name": "x" * 256}}),
        ("POST /servers/{}/action", 1, {"os-getConsoleOutput": {"length": _LARGE}}),
        ("POST /servers/{}/action", 43, {"addFixedIp": {"networkId": _LARGE}}),
        ("PUT /servers/{}", 104, {"server": {"pinned_availability_zone": " x "}}),
        ("POST /os-server-groups", 64, {"server_group": {"name": "g", "policy": "anti-affinity", "rules": {}}}),
        ("GET /images?minRam=x&minDisk=" + "9" * 30, 35, None),
        ("GET /os-server-groups?offset=" + "9" * 30, 1, None),
        ("GET /flavors?name=(", 102, None),
        ("GET /servers?name=(", 1, None),
    ],
)
async def test_what_nova_lets_pass_is_not_refused_for_its_shape(
    tmp_path: Path, call: str, version: int, body: dict[str, Any] | None
) -> None:
    """It may still be refused for what it says: then in other words, and never by a fault of ours."""
    if body and "server_group" in body:
        body["server_group"]["rules"] = {"max_server_per_host": _LARGE}
    async with front_door(tmp_path) as door:
        server = (await things(door))["server"]
        answer = await ask(door, "admin", call.format(server), version, body)
        assert "Invalid input for" not in answer.text
        assert answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("call", "version", "body"),
    [
        ("POST /servers/{}/os-interface", 1, {"interfaceAttachment": {"port_id": None}}),
        ("POST /servers/{}/os-interface", 1, {"interfaceAttachment": {"net_id": None}}),
        ("POST /servers", 1, {"server": {**_CREATE, "networks": [{"uuid": 7}]}}),
        ("POST /servers", 1, {"server": {**_CREATE, "user_data": "abc"}}),
        ("POST /servers", 1, {"server": {**_CREATE, "user_data": "aGVsbG8é"}}),
        ("POST /servers", 1, {"server": {**_CREATE, "personality": [{"path": "/a", "contents": "abc"}]}}),
        ("POST /servers/{}/action", 1, {"rebuild": {**_REBUILD, "accessIPv4": ""}}),
        ("POST /servers/{}/action", 1, {"rebuild": {**_REBUILD, "accessIPv6": ""}}),
        ("POST /servers/{}/action", 1, {"rebuild": {**_REBUILD, "preserve_ephemeral": "perhaps"}}),
        ("POST /servers/{}/action", 57, {"rebuild": {**_REBUILD, "user_data": "abc"}}),
        ("POST /servers/{}/action", 63, {"rebuild": {**_REBUILD, "trusted_image_certificates": []}}),
        ("POST /servers/{}/action", 63, {"rebuild": {**_REBUILD, "trusted_image_certificates": ["x"] * 2}}),
        ("POST /flavors", 1, {"flavor": {"name": "f", "ram": 2**31, "vcpus": 1, "disk": 1}}),
        ("POST /flavors", 1, {"flavor": {"name": "f", "ram": 64, "vcpus": str(2**31), "disk": 1}}),
        ("PUT /os-quota-sets/p", 1, {"quota_set": {"cores": 2**31}}),
        ("POST /servers", 1, {"server": {**_CREATE, "min_count": 0}}),
    ],
)
async def test_what_nova_refuses_for_its_shape_is_refused(
    tmp_path: Path, call: str, version: int, body: dict[str, Any]
) -> None:
    async with front_door(tmp_path) as door:
        server = (await things(door))["server"]
        answer = await ask(door, "admin", call.format(server), version, body)
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"].startswith("Invalid input for")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("x" * 256, f"Invalid input for field/attribute description. Value: {'x' * 256}. '{'x' * 256}' is too long"),
        (7, "Invalid input for field/attribute description. Value: 7. "),
        (["secret"], "Invalid input for field/attribute description. ["),
        ("y" * 1000, "Invalid input for field/attribute description. "),
    ],
)
async def test_a_refusal_is_worded_as_clients_know_it(tmp_path: Path, description: Any, message: str) -> None:
    async with front_door(tmp_path) as door:
        server = (await things(door))["server"]
        answer = await ask(door, "member", f"PUT /servers/{server}", 19, {"server": {"description": description}})
        told = answer.json()["badRequest"]["message"]
        assert answer.status_code == 400 and told.startswith(message) and len(told) < 700


@pytest.mark.parametrize(
    ("version", "of"),
    [(63, {"trusted_image_certificates": ["one"]}), (63, {"min_count": 2**31}), (63, {"min_count": "9" * 30})],
)
async def test_what_a_create_cannot_be_given_makes_no_server(
    tmp_path: Path, version: int, of: dict[str, Any]
) -> None:
    async with front_door(tmp_path) as door:
        mine = await things(door)
        body = {"server": {"name": "b", "imageRef": mine["image_id"], "flavorRef": "1", "networks": "none", **of}}
        answer = await ask(door, "member", "POST /servers", version, body)
        assert answer.status_code in (400, 403)
        assert len((await ask(door, "member", "GET /servers")).json()["servers"]) == 1


@pytest.mark.parametrize("zone", [" ", " x ", ""])
async def test_a_zone_to_come_back_in_has_a_name(tmp_path: Path, zone: str) -> None:
    async with front_door(tmp_path) as door:
        server = (await things(door))["server"]
        headers = {"x-auth-token": door.tokens["member"], "openstack-api-version": "compute 2.77"}
        body = {"unshelve": {"availability_zone": zone}}
        answer = await door.http.post(f"/compute/v2.1/servers/{server}/action", json=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"].startswith("Invalid input for")
