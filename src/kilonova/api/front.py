"""The front door: one port, every service below its own path.

``/compute``, ``/identity``, ``/image``, ``/network``, ``/placement`` are found by clients through the catalog; ``/`` says what is
here to a person who opens it, ``/healthcheck`` answers load balancers, ``/openapi.json`` describes the Compute API.
None of these three needs a token.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from kilonova.web.application import Receive, Scope, Send

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Front:
    """Passes each request on to the application its path begins with; ``describe`` makes the OpenAPI document."""

    def __init__(self, mounts: Mapping[str, Asgi], describe: Callable[[], Any]) -> None:
        self._mounts = dict(mounts)
        self._describe = describe

    @cached_property
    def _description(self) -> bytes:
        return msgspec.json.encode(self._describe())  # made when first asked for: starting must not wait for it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        end = path.find("/", 1)
        prefix = path if end < 0 else path[:end]
        application = self._mounts.get(prefix)
        if application is not None:
            await application({**scope, "root_path": prefix}, receive, send)
        elif path == "/":
            await _answer(send, 200, {"services": {name.strip("/"): f"{name}/" for name in self._mounts}})
        elif path == "/healthcheck":
            await _answer(send, 200, {"healthy": True})
        elif path == "/openapi.json":
            await _answer(send, 200, self._description)
        else:
            message = f"Nothing is served here; services are at {', '.join(self._mounts)}."
            await _answer(send, 404, {"itemNotFound": {"code": 404, "message": message}})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def _answer(send: Send, status: int, body: Any) -> None:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
