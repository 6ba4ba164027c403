"""Paths as Nova reads them: what stands before and behind an operation's own segments."""

from pathlib import Path

import pytest

from tests.functional.compute_api import compute_api


async def test_an_empty_name_is_not_the_list_of_all(tmp_path: Path) -> None:
    async with compute_api(tmp_path) as api:
        assert (await api("admin", "GET /os-simple-tenant-usage/")).status_code == 404
        assert (await api("admin", "GET /flavors/")).status_code == 404
        assert (await api("admin", "GET /p-admin/flavors/")).status_code == 404


@pytest.mark.parametrize("path", ["", "/"])
async def test_the_version_document_stands_with_and_without_a_slash(tmp_path: Path, path: str) -> None:
    async with compute_api(tmp_path) as api:
        answer = await api("member", f"GET /v2.1{path}", raw=True)
        assert answer.status_code == 200
        assert answer.json()["version"]["id"] == "v2.1"
