"""What is known beside a server over HTTP: its topology, the password its guest posted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from kilonova.database import server_passwords
from tests.functional.compute_api import Api, compute_api
from tests.functional.compute_rows import insert_server, server_id

ONE = f"/servers/{server_id('s1')}"
THEIRS = f"/servers/{server_id('s2')}"


def _world(connection: Connection) -> None:
    insert_server(connection, "s1")
    insert_server(connection, "s2", project_id="p-two")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with compute_api(tmp_path) as found:
        await found.database.run(_world)
        yield found


async def test_topology(api: Api) -> None:
    assert (await api("reader", f"GET {ONE}/topology", 78)).json() == {"nodes": [], "pagesize_kb": None}
    assert (await api("reader", f"GET {THEIRS}/topology", 78)).status_code == 404
    assert (await api("reader", f"GET {ONE}/topology", 77)).status_code == 404
    assert (await api("reader", f"GET {ONE}/topology?x=1", 101)).status_code == 200
    assert (await api("reader", f"GET {ONE}/topology?x=1", 102)).status_code == 400


async def test_the_password_a_guest_posted(api: Api) -> None:
    path = f"{ONE}/os-server-password"
    assert (await api("reader", f"GET {path}")).json() == {"password": ""}
    assert await api.database.run(server_passwords.put, server_id("s1"), "c2VjcmV0")
    assert not await api.database.run(server_passwords.put, server_id("s1"), "another")
    assert (await api("reader", f"GET {path}", 104)).json() == {"password": "c2VjcmV0"}
    assert (await api("reader", f"DELETE {path}")).status_code == 403
    assert (await api("other", f"DELETE {path}")).status_code == 404
    assert (await api("other", f"GET {path}")).status_code == 404
    assert (await api("member", f"DELETE {path}")).status_code == 204
    assert (await api("reader", f"GET {path}")).json() == {"password": ""}
    assert await api.database.run(server_passwords.put, server_id("s1"), "another")
