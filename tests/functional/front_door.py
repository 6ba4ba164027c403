"""Everything that nova-api serves, in this process, with users of every role: what a hostile client can reach."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova import identity, image, network, placement
from kilonova.api.compute.deployment import Deployment
from kilonova.api.front import Front
from kilonova.api.openapi import openapi
from kilonova.api.table import compute_application, compute_routes
from kilonova.config import Config
from kilonova.database.flavors import seed_flavors
from kilonova.database.tables import metadata
from kilonova.messaging.local import LocalBus
from kilonova.messaging.settings import BusSettings
from kilonova.web.routes import Route
from tests.functional import neighbours

UNKNOWN = "99999999-9999-4999-8999-999999999999"
PATCH_TYPE = "application/openstack-images-v2.1-json-patch"

_SHORT = {"name": "x"}
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHzrgxMGIU4Z6u4jTPXUPJRNMkZcXJbAoAbTs0vVKnwX a@b"
BODIES: dict[str, Any] = {
    "POST /servers": {"server": {"name": "x", "flavorRef": "1", "imageRef": UNKNOWN}},
    "PUT /servers/{id}": {"server": {"name": "other"}},
    "POST /servers/{id}/action os-start": {"os-start": None},
    "POST /servers/{id}/action os-stop": {"os-stop": None},
    "POST /servers/{id}/action reboot": {"reboot": {"type": "HARD"}},
    "POST /servers/{id}/action resize": {"resize": {"flavorRef": "2"}},
    "POST /servers/{id}/action evacuate": {"evacuate": {"onSharedStorage": False}},
    "POST /servers/{id}/action os-migrateLive": {
        "os-migrateLive": {"block_migration": False, "disk_over_commit": False, "host": None}
    },
    "POST /servers/{id}/action rebuild": {"rebuild": {"imageRef": UNKNOWN}},
    "POST /servers/{id}/action createImage": {"createImage": _SHORT},
    "POST /servers/{id}/action createBackup": {"createBackup": {**_SHORT, "backup_type": "daily", "rotation": 1}},
    "POST /servers/{id}/action changePassword": {"changePassword": {"adminPass": "x"}},
    "POST /servers/{id}/action os-resetState": {"os-resetState": {"state": "active"}},
    "POST /servers/{id}/action os-getConsoleOutput": {"os-getConsoleOutput": {}},
    "POST /servers/{id}/action addSecurityGroup": {"addSecurityGroup": {"name": "g"}},
    "POST /servers/{id}/action removeSecurityGroup": {"removeSecurityGroup": {"name": "g"}},
    "POST /servers/{server_id}/os-interface": {"interfaceAttachment": {"net_id": UNKNOWN}},
    "POST /servers/{server_id}/metadata": {"metadata": {"a": "b"}},
    "PUT /servers/{server_id}/metadata": {"metadata": {"a": "b"}},
    "PUT /servers/{server_id}/metadata/{id}": {"meta": {UNKNOWN: "b"}},
    "PUT /servers/{server_id}/tags": {"tags": ["a"]},
    "PUT /servers/{server_id}/tags/{id}": None,
    "POST /servers/{server_id}/migrations/{id}/action force_complete": {"force_complete": None},
    "POST /os-aggregates": {"aggregate": {"name": "a"}},
    "PUT /os-aggregates/{id}": {"aggregate": {"name": "a"}},
    "POST /os-aggregates/{id}/action add_host": {"add_host": {"host": "h"}},
    "POST /os-aggregates/{id}/action remove_host": {"remove_host": {"host": "h"}},
    "POST /os-aggregates/{id}/action set_metadata": {"set_metadata": {"metadata": {}}},
    "POST /os-aggregates/{id}/images": {"cache": [{"id": UNKNOWN}]},
    "PUT /os-hosts/{id}": {"status": "disable"},
    "POST /servers/{server_id}/remote-consoles": {"remote_console": {"protocol": "vnc", "type": "novnc"}},
    "POST /servers/{id}/action os-getVNCConsole": {"os-getVNCConsole": {"type": "novnc"}},
    "POST /servers/{id}/action os-getSPICEConsole": {"os-getSPICEConsole": {"type": "spice-html5"}},
    "POST /servers/{id}/action os-getSerialConsole": {"os-getSerialConsole": {"type": "serial"}},
    "POST /os-server-external-events": {"events": [{"name": "network-changed", "server_uuid": UNKNOWN}]},
    "POST /images/{image_id}/metadata": {"metadata": {"a": "b"}},
    "PUT /images/{image_id}/metadata": {"metadata": {"a": "b"}},
    "PUT /images/{image_id}/metadata/{id}": {"meta": {UNKNOWN: "b"}},
    "POST /os-security-groups": {"security_group": {"name": "g", "description": ""}},
    "PUT /os-security-groups/{id}": {"security_group": {"name": "g", "description": ""}},
    "POST /os-security-group-rules": {"security_group_rule": {"parent_group_id": UNKNOWN}},
    "POST /servers/{id}/action addFloatingIp": {"addFloatingIp": {"address": "192.0.2.1"}},
    "POST /servers/{id}/action removeFloatingIp": {"removeFloatingIp": {"address": "192.0.2.1"}},
    "POST /servers/{id}/action addFixedIp": {"addFixedIp": {"networkId": UNKNOWN}},
    "POST /servers/{id}/action removeFixedIp": {"removeFixedIp": {"address": "192.0.2.1"}},
    "POST /os-server-groups": {"server_group": {"name": "g", "policies": ["affinity"]}},
    "POST /flavors": {"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1}},
    "PUT /flavors/{id}": {"flavor": {"description": "d"}},
    "POST /flavors/{id}/action addTenantAccess": {"addTenantAccess": {"tenant": "t"}},
    "POST /flavors/{id}/action removeTenantAccess": {"removeTenantAccess": {"tenant": "t"}},
    "POST /flavors/{flavor_id}/os-extra_specs": {"extra_specs": {"a:b": "c"}},
    "POST /os-keypairs": {"keypair": {"name": "k", "public_key": _KEY}},
    "PUT /os-quota-sets/{id}": {"quota_set": {"instances": 5}},
    "PUT /os-quota-class-sets/{id}": {"quota_class_set": {"instances": 5}},
    "POST /v3/domains": {"domain": _SHORT},
    "PATCH /v3/domains/{domain_id}": {"domain": _SHORT},
    "POST /v3/projects": {"project": _SHORT},
    "PATCH /v3/projects/{project_id}": {"project": _SHORT},
    "POST /v3/users": {"user": {"name": "x", "password": "p"}},
    "PATCH /v3/users/{user_id}": {"user": _SHORT},
    "POST /v3/users/{user_id}/password": {"user": {"password": "a", "original_password": "b"}},
    "POST /v3/roles": {"role": _SHORT},
    "PATCH /v3/roles/{role_id}": {"role": _SHORT},
    "POST /v3/users/{user_id}/application_credentials": {"application_credential": _SHORT},
    "PUT /v3/projects/{project_id}/tags": {"tags": ["t"]},
    "POST /v2/images": {"name": "x"},
    "POST /v2/images/{image_id}/members": {"member": UNKNOWN},
    "PUT /v2/images/{image_id}/members/{member_id}": {"status": "accepted"},
    "PATCH /v2/images/{image_id}": [{"op": "replace", "path": "/name", "value": "x"}],
    "POST /v2.0/networks": {"network": _SHORT},
    "PUT /v2.0/networks/{id}": {"network": _SHORT},
    "POST /v2.0/subnets": {"subnet": {"network_id": UNKNOWN, "ip_version": 4, "cidr": "10.0.0.0/24"}},
    "PUT /v2.0/subnets/{id}": {"subnet": _SHORT},
    "POST /v2.0/ports": {"port": {"network_id": UNKNOWN}},
    "PUT /v2.0/ports/{id}": {"port": {"name": "mine"}},
    "POST /v2.0/security-groups": {"security_group": {"name": "default"}},
    "PUT /v2.0/security-groups/{id}": {"security_group": _SHORT},
    "POST /v2.0/security-group-rules": {"security_group_rule": {"security_group_id": UNKNOWN, "direction": "egress"}},
    "POST /v2.0/routers": {"router": _SHORT},
    "PUT /v2.0/routers/{id}": {"router": _SHORT},
    "PUT /v2.0/routers/{id}/add_router_interface": {"subnet_id": UNKNOWN},
    "PUT /v2.0/routers/{id}/remove_router_interface": {"subnet_id": UNKNOWN},
    "POST /v2.0/floatingips": {"floatingip": {"floating_network_id": UNKNOWN}},
    "PUT /v2.0/floatingips/{id}": {"floatingip": {"port_id": None}},
    "POST /v2.0/trunks": {"trunk": {"port_id": UNKNOWN}},
    "PUT /v2.0/trunks/{id}": {"trunk": _SHORT},
    "PUT /v2.0/trunks/{id}/add_subports": {"sub_ports": []},
    "PUT /v2.0/trunks/{id}/remove_subports": {"sub_ports": []},
    "PUT /v2.0/quotas/{project_id}": {"quota": {"network": 5}},
    "POST /resource_providers": {"name": "x"},
    "PUT /resource_providers/{uuid}": {"name": "x"},
    "POST /resource_providers/{uuid}/inventories": {"resource_class": "CUSTOM_X", "total": 1},
    "PUT /resource_providers/{uuid}/inventories": {"resource_provider_generation": 0, "inventories": {}},
    "PUT /resource_providers/{uuid}/inventories/{resource_class}": {"resource_provider_generation": 0, "total": 1},
    "PUT /resource_providers/{uuid}/aggregates": [],
    "PUT /resource_providers/{uuid}/traits": {"resource_provider_generation": 0, "traits": []},
    "POST /resource_classes": {"name": "CUSTOM_X"},
    "PUT /resource_classes/{name}": {"name": "CUSTOM_X"},
    "PUT /allocations/{consumer_uuid}": {
        "allocations": [{"resource_provider": {"uuid": UNKNOWN}, "resources": {"VCPU": 1}}]
    },
    "POST /allocations": {UNKNOWN: {"allocations": {}, "project_id": "p", "user_id": "u"}},
    "POST /reshaper": {
        "inventories": {UNKNOWN: {"resource_provider_generation": 0, "inventories": {}}},
        "allocations": {},
    },
    **{
        f"{method} /v2.0/{plural}/{{id}}/tags": {"tags": ["t"]}
        for method in ("PUT", "POST")
        for plural in ("networks", "subnets", "ports", "routers", "floatingips", "security-groups", "trunks")
    },
}
"""A body that its schema lets pass, so that what stands behind the schema answers."""


class Row:
    """A route of one of the services, as a client sees it."""

    def __init__(self, mount: str, route: Route) -> None:
        self.mount, self.route = mount, route
        self.version = route.since

    def __str__(self) -> str:
        return " ".join(filter(None, (self.route.method, self.mount + self.route.path, self.route.action)))

    @property
    def key(self) -> str:
        """As ``BODIES`` and the tables of exceptions name it."""
        return " ".join(filter(None, (self.route.method, self.route.path, self.route.action)))

    @property
    def reads_json(self) -> bool:
        return self.route.method in ("POST", "PUT", "PATCH") and not self.route.streams

    @property
    def names(self) -> list[str]:
        return [part[1:-1] for part in self.route.path.split("/") if part.startswith("{")]

    def url(self, value: str = UNKNOWN, values: Mapping[str, str] | None = None) -> str:
        """The path with its variables filled in."""
        path = self.route.path
        for name in self.names:
            path = path.replace(f"{{{name}}}", (values or {}).get(name, value))
        prefix = "/v2.1" if self.mount == "/compute" and self.route.role != "none" else ""
        return f"{self.mount}{prefix}{path}"

    def body(self) -> Any:
        """Something valid."""
        if self.key == "PUT /os-services/{id}":
            return {"host": "h", "binary": "nova-compute"} if self.version < 53 else {"status": "disabled"}
        if self.key == "PUT /flavors/{flavor_id}/os-extra_specs/{id}":
            return {UNKNOWN: "c"}
        named = {} if self.route.action is None else {self.route.action: None}
        return BODIES.get(self.key.replace("/os-volumes_boot", "/servers"), named)


def rows() -> list[Row]:
    """Every operation of every service."""
    tables = {
        "/compute": compute_routes().routes,
        "/identity": identity.routes(),
        "/image": image.routes(),
        "/network": network.routes(),
        "/placement": placement.routes(),
    }
    return [Row(mount, route) for mount, table in tables.items() for route in table]


class Door:
    """A client of all of it, the users' tokens, and what is behind it."""

    def __init__(self, cloud: neighbours.Neighbours, http: httpx.AsyncClient) -> None:
        self.cloud, self.http = cloud, http
        self.tokens: dict[str, str] = {}

    async def __call__(
        self,
        row: Row,
        who: str | None = "admin",
        *,
        url: str | None = None,
        content: bytes | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One call of a row; ``content`` instead of its valid body, ``more`` are headers with ``_`` for ``-``."""
        minor = row.version - 100 if row.mount == "/placement" else row.version
        spoken = f"placement 1.{max(minor, 0)}" if row.mount == "/placement" else f"compute 2.{minor}"
        headers = {"openstack-api-version": spoken}
        if who is not None:
            headers["x-auth-token"] = self.tokens.get(who, who)
        if row.reads_json:
            headers["content-type"] = PATCH_TYPE if row.key == "PATCH /v2/images/{image_id}" else "application/json"
            content = json.dumps(row.body()).encode() if content is None else content
        elif row.route.streams:
            headers["content-type"] = "application/octet-stream"
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return await self.http.request(row.route.method, url or row.url(), content=content, headers=headers)

    async def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""

        def read(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
            return {
                table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
                for table in metadata.sorted_tables
            }

        return await self.cloud.database.run(read)


@asynccontextmanager
async def front_door(directory: Path) -> AsyncIterator[Door]:
    """A cloud in one process: users ``admin``, ``member`` and ``reader`` of one project, ``stranger`` of another."""
    cloud = await neighbours.start(directory)
    config = Config(state_dir=directory)
    bus = LocalBus(cloud.clock, BusSettings())
    await bus.start()
    await cloud.database.run(seed_flavors, cloud.clock.now())
    deployment = Deployment(
        config=config,
        database=cloud.database,
        bus=bus,
        images=cloud.images,
        networks=cloud.networks,
        clock=cloud.clock,
        ids=cloud.ids,
        random=cloud.rng,
        host="control",
    )
    compute = compute_application(deployment, cloud.identity)
    front = Front({**cloud.applications, "/compute": compute}, lambda: openapi(compute_routes(), "/compute"))
    transport = httpx.ASGITransport(app=front)
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test:8774") as http:
        door = Door(cloud, http)
        await _make_users(door)
        yield door
    await bus.close()
    await cloud.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def _make_users(door: Door) -> None:
    cloud = door.cloud
    door.tokens["admin"] = await cloud.token()
    door.tokens["member"] = await cloud.token("demo", "demo")
    door.http.headers["x-auth-token"] = door.tokens["admin"]
    roles = {r["name"]: r["id"] for r in (await door.http.get("/identity/v3/roles")).json()["roles"]}
    made = await door.http.post("/identity/v3/projects", json={"project": {"name": "strangers"}})
    projects = {"demo": cloud.bootstrapped.demo_project_id, "strangers": made.json()["project"]["id"]}
    for name, project, role in (("reader", "demo", "reader"), ("stranger", "strangers", "member")):
        user = {"name": name, "password": neighbours.PASSWORD, "domain_id": "default"}
        answer = await door.http.post("/identity/v3/users", json={"user": user})
        assert answer.status_code == 201, answer.text
        path = f"/identity/v3/projects/{projects[project]}/users/{answer.json()['user']['id']}/roles/{roles[role]}"
        assert (await door.http.put(path)).status_code == 204
        door.tokens[name] = await cloud.token(name, project)
    del door.http.headers["x-auth-token"]
    for token in door.tokens.values():  # who looks for the first time is given a default security group
        await door.http.get("/network/v2.0/security-groups", headers={"x-auth-token": token})
