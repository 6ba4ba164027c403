"""The tap passes everything on unchanged, and writes down the calls to Compute and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.wiretap import Tap


async def _backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with what it got of it; ``/close`` ends the connection, ``/nothing`` is a 204."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        words = head.decode().split("\r\n")
        headers = dict(word.lower().split(": ", 1) for word in words[1:] if ": " in word)
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        said = json.dumps({"first": words[0], "body": body.decode()}).encode()
        status = "204 No Content" if "/nothing" in words[0] else "200 OK"
        more = "connection: close\r\n" if "/close" in words[0] else ""
        length = "" if status.startswith("204") else f"content-length: {len(said)}\r\n"
        start = f"HTTP/1.1 {status}\r\nopenstack-api-version: compute 2.53\r\n{more}{length}\r\n"
        writer.write(start.encode() + (b"" if status.startswith("204") or words[0].startswith("HEAD") else said))
        await writer.drain()
        if more:
            writer.close()
            return


@pytest.fixture
async def tapped(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Path]]:
    """A client in front of the tap, and what the tap writes."""
    recording = tmp_path / "calls.jsonl"
    backend = await asyncio.start_server(_backend, "127.0.0.1", 0)
    with recording.open("a") as file:
        tap = Tap(backend.sockets[0].getsockname()[1], file)
        server = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            yield http, recording
        server.close()
        backend.close()


def _recorded(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_a_call_to_compute_is_written_down_whole(tapped: tuple[httpx.AsyncClient, Path]) -> None:
    http, recording = tapped
    headers = {"x-auth-token": "very secret"}
    answer = await http.post("/compute/v2.1/servers?a=1&a=2", json={"server": {"name": "é"}}, headers=headers)
    assert answer.json()["first"] == "POST /compute/v2.1/servers?a=1&a=2 HTTP/1.1"
    assert _recorded(recording) == [
        {
            "method": "POST",
            "path": "/v2.1/servers",
            "query": "a=1&a=2",
            "version": 53,
            "sent": {"server": {"name": "é"}},
            "status": 200,
            "received": answer.json(),
            "request_id": "",
        }
    ]
    assert "very secret" not in recording.read_text()


async def test_other_services_pass_unrecorded(tapped: tuple[httpx.AsyncClient, Path]) -> None:
    http, recording = tapped
    assert (await http.post("/identity/v3/auth/tokens", json={"password": "x"})).status_code == 200
    assert (await http.get("/compute/")).status_code == 200
    assert _recorded(recording) == []


async def test_every_framing_of_a_body_passes(tapped: tuple[httpx.AsyncClient, Path]) -> None:
    http, recording = tapped

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"a"'
        yield b": 1}"

    assert (await http.put("/compute/v2.1/x", content=pieces())).json()["body"] == '{"a": 1}'
    assert (await http.put("/compute/v2.1/x", content=b"no json")).json()["body"] == "no json"
    assert (await http.delete("/compute/v2.1/nothing")).status_code == 204
    assert (await http.head("/compute/v2.1/x")).content == b""
    assert (await http.get("/compute/v2.1/close")).status_code == 200
    assert (await http.get("/compute/v2.1/x")).status_code == 200  # over a connection of its own
    assert [(one["method"], one["sent"], one["status"]) for one in _recorded(recording)] == [
        ("PUT", {"a": 1}, 200),
        ("PUT", {"unreadable": 7}, 200),
        ("DELETE", None, 204),
        ("HEAD", None, 200),
        ("GET", None, 200),
        ("GET", None, 200),
    ]
