"""From an empty deployment to one that serves: schemas, Keystone's users and catalogue, cells, services, computes."""

import os
import pwd
import time
from collections.abc import Callable
from typing import Any

import httpx

from bench.nova.deployment import Deployment
from kilonova.backing.mariadb import MariaDB

DATABASES = ("keystone", "placement", "nova_api", "nova", "nova_cell0")


def prepare(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Everything but the computes serves when this returns. Raises ``SystemExit`` with what a command said."""
    site = deployment.site
    for name in DATABASES:
        site.database.create_database(name)
    deployment.start("stand-ins")
    say("Keystone: schema, users, catalogue")
    _keystone(deployment)
    say("Placement: schema")
    deployment.manage("placement-manage", "placement", "db", "sync")
    deployment.start("placement")
    say("Nova: schemas, cells (half a minute)")
    deployment.manage("nova-manage", "nova", "api_db", "sync")
    cell0 = site.database_url("nova_cell0")
    deployment.manage("nova-manage", "nova", "cell_v2", "map_cell0", "--database_connection", cell0)
    deployment.manage("nova-manage", "nova", "cell_v2", "create_cell", "--name", "cell1")
    deployment.manage("nova-manage", "nova", "db", "sync")
    say("starting Nova's services")
    for name in ("nova-conductor", "nova-scheduler", "nova-api"):
        deployment.start(name)


def start_computes(deployment: Deployment, count: int, say: Callable[[str], None]) -> None:
    """``count`` nova-computes, known to the cell when this returns. Raises ``SystemExit`` after five minutes."""
    say(f"starting {count} nova-computes")
    for number in range(1, count + 1):
        deployment.start(f"compute{number}")
    deadline = time.monotonic() + 300.0
    with session(deployment) as nova:
        while len(nova.get("/os-hypervisors").json().get("hypervisors", ())) < count:
            deployment.check()
            if time.monotonic() > deadline:
                raise SystemExit("nova-compute: not all hosts have come up within five minutes")
            time.sleep(1.0)
            deployment.manage("nova-manage", "nova", "cell_v2", "discover_hosts")


def session(deployment: Deployment) -> httpx.Client:
    """A client of the Compute API as its administrator."""
    site = deployment.site
    headers = {"x-auth-token": token(deployment), "x-openstack-nova-api-version": "2.96"}
    return httpx.Client(base_url=site.nova, headers=headers, trust_env=False, timeout=60.0)


def token(deployment: Deployment) -> str:
    """An administrator's token, good for an hour."""
    site = deployment.site
    user = {"name": "admin", "domain": {"id": "default"}, "password": site.password}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    answer = httpx.post(f"{site.keystone}/auth/tokens", json={"auth": auth}, trust_env=False, timeout=60.0)
    return str(answer.raise_for_status().headers["x-subject-token"])


def _keystone(deployment: Deployment) -> None:
    site = deployment.site
    account = pwd.getpwuid(os.geteuid())
    deployment.manage("keystone-manage", "keystone", "db_sync")
    owner = ("--keystone-user", account.pw_name, "--keystone-group", str(account.pw_gid))
    deployment.manage("keystone-manage", "keystone", "fernet_setup", *owner)
    urls = [word for kind in ("admin", "internal", "public") for word in (f"--bootstrap-{kind}-url", site.keystone)]
    deployment.manage(
        "keystone-manage",
        "keystone",
        *("bootstrap", *urls, "--bootstrap-region-id", "RegionOne"),
        OS_BOOTSTRAP_PASSWORD=site.password,
    )
    deployment.start("keystone")
    headers = {"x-auth-token": token(deployment)}
    with httpx.Client(base_url=site.keystone, headers=headers, trust_env=False, timeout=60.0) as keystone:
        _service_users(keystone, site.password)
        _catalogue(
            keystone,
            {
                "compute": site.nova,
                "placement": site.placement,
                "image": f"{site.stand_ins}/image",
                "network": f"{site.stand_ins}/network",
            },
        )


def _service_users(keystone: httpx.Client, password: str) -> None:
    project = _create(keystone, "project", name="service", domain_id="default")
    roles = {role["name"]: role["id"] for role in keystone.get("/roles").raise_for_status().json()["roles"]}
    for name in ("nova", "placement"):
        user = _create(keystone, "user", name=name, password=password, domain_id="default")
        for role in ("admin", "service"):
            keystone.put(f"/projects/{project}/users/{user}/roles/{roles[role]}").raise_for_status()


def _catalogue(keystone: httpx.Client, urls: dict[str, str]) -> None:
    for kind, url in urls.items():
        service = _create(keystone, "service", type=kind, name=kind)
        for interface in ("public", "internal", "admin"):
            _create(keystone, "endpoint", service_id=service, interface=interface, url=url, region_id="RegionOne")


def _create(keystone: httpx.Client, kind: str, **fields: Any) -> str:
    answer = keystone.post(f"/{kind}s", json={kind: fields}).raise_for_status()
    return str(answer.json()[kind]["id"])


def tables(database: MariaDB) -> dict[str, Any]:
    """How ``asyncmy`` reaches Nova's databases."""
    return {"host": "127.0.0.1", "port": database.port, "user": "kilonova", "password": database.password}
