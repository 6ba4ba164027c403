"""One of several processes that share a port leaves: no client meets a connection that was closed under it."""

import asyncio
from typing import Any

import httpx

from kilonova.api.http_server import HttpServer
from tests.clouds import free_port


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_clients_move_to_the_process_that_stays() -> None:
    port = free_port()
    leaver, stayer = (HttpServer(hello, "127.0.0.1", port, reuse_port=True) for _ in range(2))
    await leaver.start()
    await stayer.start()
    statuses: list[int] = []
    closing = 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def ask_until(over: asyncio.Event) -> None:
            nonlocal closing
            while not over.is_set():
                answer = await client.get("/")  # raises if the connection was closed under it
                statuses.append(answer.status_code)
                closing += answer.headers.get("connection") == "close"
                await asyncio.sleep(0.01)

        over = asyncio.Event()
        asking = [asyncio.get_running_loop().create_task(ask_until(over)) for _ in range(24)]
        await asyncio.sleep(0.3)
        await leaver.drain(5.0)
        await asyncio.sleep(0.3)
        over.set()
        await asyncio.gather(*asking)
        assert set(statuses) == {200} and len(statuses) > 20
        assert closing > 0
    await stayer.drain(1.0)


async def test_a_process_alone_does_not_linger() -> None:
    server = HttpServer(hello, "127.0.0.1", free_port())
    await server.start()
    async with asyncio.timeout(1.5):
        await server.drain(1.0)
