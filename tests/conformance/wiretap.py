"""A tap on the line between clients and a cloud: it passes everything on unchanged, and writes down Compute's calls.

    python -m tests.conformance.wiretap PORT BACKEND_PORT RECORDING

Each line of the recording is one call: method, path below ``/compute``, microversion (a minor) of the answer, query,
body sent, status, body received. Tokens and other headers are not written. Ends when its standard input ends.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any, TextIO

TAPPED = "/compute/v2.1"
LONGEST = 1 << 20
"""Bytes of a body that are kept; what is longer is passed on all the same, and recorded as unreadable."""


class Message:
    """One HTTP message on its way through: its first line, its headers, as much of its body as is kept."""

    def __init__(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.head = head
        self.first = lines[0]
        self.headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])
        }
        self.body = b""

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    @property
    def status(self) -> int:
        return int(self.first.split(" ", 2)[1])

    def document(self) -> Any:
        """The body as JSON; None if there is none, a sentence if it cannot be read."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError:
            return {"unreadable": len(self.body)}


async def relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message, *, bodiless: bool
) -> None:
    """Pass a message on, its body as it is framed."""
    writer.write(message.head)
    if not bodiless:
        if message.headers.get("transfer-encoding", "").lower() == "chunked":
            await _relay_chunks(reader, writer, message)
        else:
            await _relay_exactly(reader, writer, message, int(message.headers.get("content-length", 0)))
    await writer.drain()


async def _relay_exactly(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message, length: int
) -> None:
    while length > 0:
        piece = await reader.read(min(length, 65536))
        if not piece:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(piece)
        _keep(message, piece)
        writer.write(piece)
        await writer.drain()


async def _relay_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message) -> None:
    while True:
        size = await reader.readuntil(b"\r\n")
        piece = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        _keep(message, piece[:-2])
        writer.write(size + piece)
        await writer.drain()
        if len(piece) == 2:
            return


def _keep(message: Message, piece: bytes) -> None:
    if len(message.body) <= LONGEST:
        message.body += piece


class Tap:
    """Listens on one port and speaks to another."""

    def __init__(self, backend_port: int, recording: TextIO) -> None:
        self._backend_port = backend_port
        self._recording = recording

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, with one of our own behind it."""
        behind: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                request = Message(await reader.readuntil(b"\r\n\r\n"))
                if behind is None or behind[0].at_eof():
                    if behind is not None:
                        behind[1].close()
                    behind = await asyncio.open_connection("127.0.0.1", self._backend_port)
                await relay(reader, behind[1], request, bodiless=False)
                answer = await self._answer(behind[0], writer, request)
                self._record(request, answer)
                if request.closes or answer.closes:
                    return
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            return  # either side has hung up, or we are asked to end
        finally:
            writer.close()
            if behind is not None:
                behind[1].close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Message) -> Message:
        while True:
            answer = Message(await reader.readuntil(b"\r\n\r\n"))
            bodiless = request.first.startswith("HEAD ") or answer.status in (204, 304) or answer.status < 200
            await relay(reader, writer, answer, bodiless=bodiless)
            if answer.status >= 200:
                return answer

    def _record(self, request: Message, answer: Message) -> None:
        method, target, _ = request.first.split(" ", 2)
        path, _, query = target.partition("?")
        if path != TAPPED and not path.startswith(TAPPED + "/"):
            return
        spoken = re.search(r"2\.(\d+)", answer.headers.get("openstack-api-version", ""))
        entry = {
            "method": method,
            "path": path.removeprefix("/compute"),
            "query": query,
            "version": int(spoken[1]) if spoken else 1,
            "sent": request.document(),
            "status": answer.status,
            "received": answer.document(),
            "request_id": answer.headers.get("x-openstack-request-id", ""),
        }
        self._recording.write(json.dumps(entry) + "\n")
        self._recording.flush()


async def run(port: int, backend_port: int, recording: Path) -> None:
    """Serve until standard input ends: whoever started us has gone then."""
    with recording.open("a") as file:
        tap = Tap(backend_port, file)
        server = await asyncio.start_server(tap.serve, "127.0.0.1", port, backlog=256)
        async with server:
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
