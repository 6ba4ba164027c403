"""Serves an ASGI application with uvicorn inside our own event loop: we bind the port, we handle the signals.

When several processes share the port, the one that leaves does so without a client noticing: for a moment it still answers, and
each answer asks the client to come back on a new connection, which the kernel gives to those that stay.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from kilonova.api.front import Asgi
from kilonova.model.errors import Misconfigured
from kilonova.web.application import Receive, Scope, Send

_BACKLOG = 2048
_LINGER = (
    6.0  # seconds; clients that ask more often, or keep connections shorter (httpx: 5), never meet one we closed
)
_KEEP_ALIVE = 75  # seconds; longer than the usual client's pause between two polls


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process has its own handlers: other services must drain too


class _Door:
    """The application; once ``leaving``, every answer says that its connection is over."""

    def __init__(self, application: Asgi) -> None:
        self._application = application
        self.leaving = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.leaving:
            await self._application(scope, receive, send)
            return

        async def send_last(event: MutableMapping[str, Any]) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event.get("headers", []), (b"connection", b"close")]}
            await send(event)

        await self._application(scope, receive, send_last)


class HttpServer:
    """One listening socket and what is behind it."""

    def __init__(self, application: Asgi, host: str, port: int, *, reuse_port: bool = False) -> None:
        self._shared = reuse_port
        self._door = _Door(application)
        self._socket = _bind(host, port, reuse_port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._door,
            loop="none",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._socket]), name="http")
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0)  # noqa: TID251 -- gives way once; no time passes

    async def drain(self, timeout: float) -> None:
        """Take no more connections, finish what is being answered, at most ``timeout`` seconds."""
        if self._task is None:
            return
        if self._shared:
            self._door.leaving = True
            await self._stop_listening()
            await asyncio.sleep(_LINGER)  # noqa: TID251 -- real clients wait in real time
        self._server.config.timeout_graceful_shutdown = max(int(timeout), 1)
        self._server.should_exit = True
        await self._task

    async def _stop_listening(self) -> None:
        """New connections go to the others from now on. Those that the kernel has accepted for us already are served: closing the
        socket would reset them."""
        loop = asyncio.get_running_loop()
        waiting: list[socket.socket] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.append(self._socket.accept()[0])
        for server in self._server.servers:
            server.close()
        self._socket.close()
        for connection in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        config, state = self._server.config, self._server.server_state
        protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=state, app_state=self._server.lifespan.state
        )
        return protocol


def _bind(host: str, port: int, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise Misconfigured(
            f"nova-api cannot listen on {host}:{port}: {error.strerror}; stop what uses it or set api.port"
        ) from None
    bound.listen(_BACKLOG)
    bound.setblocking(False)
    return bound
