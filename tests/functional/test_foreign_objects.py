"""Other people's servers, images, ports and keys: they are not there; and a server's bodies, whatever is in them."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilonova.api.compute import gone
from tests.functional.front_door import Door, Row, front_door, rows

GONE = (gone.refuse, gone.refuse_rdp)
ROWS = {str(row): row for row in rows()}


async def things(door: Door) -> dict[str, str]:
    """One of each kind, of the user ``member``; their ids by what the paths call them."""
    http = door.http
    headers = {"x-auth-token": door.tokens["member"], "openstack-api-version": "compute 2.100"}
    body: dict[str, Any] = {"name": "mine", "disk_format": "raw", "container_format": "bare"}
    image = (await http.post("/image/v2/images", json=body, headers=headers)).json()["id"]
    data = {**headers, "content-type": "application/octet-stream"}
    assert (await http.put(f"/image/v2/images/{image}/file", content=b"\0" * 512, headers=data)).status_code == 204
    body = {"server": {"name": "mine", "imageRef": image, "flavorRef": "1", "networks": "auto"}}
    made = await http.post("/compute/v2.1/servers", json=body, headers=headers)
    assert made.status_code == 202, made.text
    networks = (await http.get("/network/v2.0/networks", headers=headers)).json()["networks"]
    shared = next(network["id"] for network in networks if network["shared"])

    async def network_thing(noun: str, **attributes: Any) -> str:
        made = await http.post(f"/network/v2.0/{noun.replace('_', '-')}s", json={noun: attributes}, headers=headers)
        assert made.status_code == 201, made.text
        found: str = made.json()[noun]["id"]
        return found

    own, group = await network_thing("network"), await network_thing("security_group", name="g")
    public = next(network["id"] for network in networks if network["router:external"])
    parent = await network_thing("port", network_id=shared)
    subnet = await network_thing("subnet", network_id=own, ip_version=4, cidr="10.77.0.0/24")
    found = {
        "networks": own,
        "subnets": subnet,
        "ports": await network_thing("port", network_id=shared),
        "routers": await network_thing("router"),
        "floatingips": await network_thing("floatingip", floating_network_id=public),
        "trunks": await network_thing("trunk", port_id=parent),
        "security-groups": group,
        "security-group-rules": await network_thing(
            "security_group_rule", security_group_id=group, direction="ingress"
        ),
    }
    return {"server": made.json()["server"]["id"], "image_id": image, **found}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with front_door(tmp_path) as opened:
        yield opened


async def test_what_belongs_to_another_project_is_not_there(door: Door) -> None:
    mine = await things(door)
    before = await door.dump()
    wrong, asked = [], 0
    for row in ROWS.values():
        values = _values(row, mine)
        if values is None or row.route.role in ("manager", "admin") or row.route.handler in GONE:
            continue
        asked += 1
        answer = await door(row, "stranger", url=row.url("x", values))
        if answer.status_code not in {404, 405}:
            wrong.append(f"{row}: {answer.status_code} {answer.text[:120]}")
        if row.route.method == "GET" and "x" not in row.url("x", values).split("/"):
            known = await door(row, "member", url=row.url("x", values))
            assert known.status_code == 200, f"{row}: {known.text}"
    assert not wrong, "\n".join(wrong)
    assert asked >= 15
    assert await door.dump() == before


def _values(row: Row, mine: dict[str, str]) -> dict[str, str] | None:
    """The path's variables, if they name one of the things."""
    if row.route.path.startswith("/servers/{"):
        return {row.names[0]: mine["server"]}
    if row.route.path.startswith("/v2.0/") and row.names[:1] == ["id"]:
        return {"id": mine[row.route.path.split("/")[2]]}
    found = {name: mine[name] for name in row.names if name in mine}
    return found or None


async def test_lists_hold_ones_own_only(door: Door) -> None:
    mine = await things(door)
    for path in ("/compute/v2.1/servers", "/image/v2/images", "/network/v2.0/ports"):
        for who, expected in (("member", True), ("stranger", False)):
            answer = await door.http.get(path, headers={"x-auth-token": door.tokens[who]})
            assert any(thing in answer.text for thing in mine.values()) is expected, f"{path} for {who}"


# --- bodies nobody thought of -----------------------------------------------------------------------------

TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", "1", "auto", "none", "HARD", "\0", "99999999-9999-4999-8999-999999999999"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
KEYS = st.sampled_from(
    """
    server name imageRef flavorRef networks uuid port fixed_ip metadata user_data key_name min_count max_count
    availability_zone block_device_mapping_v2 boot_index security_groups tags host hostname config_drive
    os:scheduler_hints accessIPv4 description personality OS-DCF:diskConfig reboot type os-start os-stop
    os-getConsoleOutput length return_reservation_id trusted_image_certificates adminPass
    """.split()  # noqa: SIM905
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXTS, inner, max_size=4),
    max_leaves=12,
)
NEARLY = st.fixed_dictionaries(
    {
        "name": st.just("s"),
        "flavorRef": st.just("1") | LEAVES,
        "networks": st.sampled_from(["auto", "none"]) | ANYTHING,
    },
    optional=dict.fromkeys(
        ("imageRef", "metadata", "user_data", "min_count", "max_count", "tags", "hostname"), ANYTHING
    ),
)
QUIET = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class Bodies:
    """One cloud for all examples of a property."""

    def __init__(self, directory: Path, loop: asyncio.Runner) -> None:
        self._loop = loop
        self._context = front_door(directory)
        self.door = loop.run(self._context.__aenter__())
        self.mine = loop.run(things(self.door))

    def post(self, path: str, body: Any, version: int) -> int:
        headers = {
            "x-auth-token": self.door.tokens["member"],
            "openstack-api-version": f"compute 2.{version}",
            "content-type": "application/json",
        }
        content = json.dumps(body).encode()
        answer = self._loop.run(self.door.http.post(f"/compute/v2.1{path}", content=content, headers=headers))
        return answer.status_code

    def close(self) -> None:
        self._loop.run(self._context.__aexit__(None, None, None))


def _never_our_fault(path: str, bodies: st.SearchStrategy[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as loop:
        cloud = Bodies(Path(directory), loop)

        @QUIET
        @given(bodies, st.sampled_from([1, 37, 67, 74, 90, 94, 104]))
        def check(body: Any, version: int) -> None:
            assert cloud.post(path.format(cloud.mine["server"]), body, version) < 500

        try:
            check()
        finally:
            cloud.close()


def test_no_body_of_a_create_is_our_fault() -> None:
    _never_our_fault("/servers", ANYTHING | st.fixed_dictionaries({"server": ANYTHING | NEARLY}))


def test_no_body_of_an_action_is_our_fault() -> None:
    names = st.sampled_from(["os-start", "os-stop", "reboot", "os-getConsoleOutput"])
    _never_our_fault("/servers/{}/action", ANYTHING | st.dictionaries(names, ANYTHING, min_size=1, max_size=2))
