"""Servers listed by when they changed last, which is shown to the second and kept to the microsecond."""

from pathlib import Path

from sqlalchemy.engine import Connection

from kilonova.api.compute import servers as routes
from tests.functional.compute_api import NOW, compute_api
from tests.functional.compute_rows import insert_server


def _world(connection: Connection) -> None:
    for name, micros in (("s1", 300_000), ("s2", 700_000), ("s3", 1_000_000)):
        insert_server(connection, name, updated_at=NOW - NOW % 1_000_000 + micros)


async def test_a_moment_as_it_was_shown_is_the_whole_second(tmp_path: Path) -> None:
    async with compute_api(tmp_path, routes.ROUTES) as api:
        await api.database.run(_world)
        found = (await api("reader", "GET /servers/detail", 66)).json()["servers"]
        updated = {server["name"]: server["updated"] for server in found}
        assert updated["s1"] == updated["s2"] != updated["s3"]

        async def names(query: str) -> set[str]:
            listed = (await api("reader", f"GET /servers?{query}", 66)).json()["servers"]
            return {server["name"] for server in listed}

        assert await names(f"changes-before={updated['s2']}") == {"s1", "s2"}
        assert await names(f"changes-before={updated['s3']}") == {"s1", "s2", "s3"}
        assert await names(f"changes-since={updated['s1']}") == {"s1", "s2", "s3"}
        assert await names(f"changes-since={updated['s3']}") == {"s3"}
        both = f"changes-since={updated['s1']}&changes-before={updated['s2']}"
        assert await names(both) == {"s1", "s2"}
