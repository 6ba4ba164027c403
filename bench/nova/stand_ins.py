"""The stand-ins for Glance and Neutron, one program: python -m bench.nova.stand_ins PORT.

They answer at once, out of memory, only what Nova asks for while it boots a server without networks: the image, and empty lists
of ports and the like. Whatever a real Glance or Neutron would cost is so left out of Nova's figures.
"""

import asyncio
import json
import sys
from typing import Any

IMAGE_ID = "11111111-2222-3333-4444-555555555555"
_IMAGE: dict[str, Any] = {
    "id": IMAGE_ID,
    "name": "empty",
    "status": "active",
    "visibility": "public",
    "protected": False,
    "owner": "bench",
    "checksum": "d41d8cd98f00b204e9800998ecf8427e",
    "container_format": "bare",
    "disk_format": "raw",
    "min_ram": 0,
    "min_disk": 0,
    "size": 512,
    "virtual_size": None,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "tags": [],
    "self": f"/v2/images/{IMAGE_ID}",
    "file": f"/v2/images/{IMAGE_ID}/file",
    "schema": "/v2/schemas/image",
}
_SCHEMA = {"name": "image", "properties": {name: {} for name in _IMAGE}, "links": []}
_LISTS = ("ports", "networks", "subnets", "security-groups", "floatingips", "extensions")


def answer(path: str, port: int) -> tuple[int, object]:
    """Status and body for a GET of ``path``; what Nova was never seen to ask for is 404."""
    service, _, rest = path.partition("?")[0].strip("/").partition("/")
    if service == "image":
        known: dict[str, tuple[int, object]] = {
            "": (300, _versions("image", "v2.9", port)),
            "versions": (300, _versions("image", "v2.9", port)),
            f"v2/images/{IMAGE_ID}": (200, _IMAGE),
            "v2/images": (200, {"images": [_IMAGE], "schema": "/v2/schemas/images"}),
            "v2/schemas/image": (200, _SCHEMA),
        }
    else:
        known = {f"v2.0/{name}": (200, {name.replace("-", "_"): []}) for name in _LISTS}
        known[""] = (200, _versions("network", "v2.0", port))
    return known.get(rest, (404, {"path": path}))


def _versions(service: str, version: str, port: int) -> object:
    link = {"rel": "self", "href": f"http://127.0.0.1:{port}/{service}/{version[:2]}/"}
    return {"versions": [{"id": version, "status": "CURRENT", "links": [link]}]}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    port = writer.get_extra_info("sockname")[1]
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
            fields = dict(line.lower().split(":", 1) for line in head[1:] if ":" in line)
            await reader.readexactly(int(fields.get("content-length", "0")))
            status, body = answer(head[0].split(" ")[1], port)
            if status == 404:
                sys.stderr.write(f"not imitated: {head[0]}\n")
            content = json.dumps(body).encode()
            writer.write(
                b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(content), content)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port: int) -> None:
    async with await asyncio.start_server(_serve, "127.0.0.1", port, backlog=512) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
