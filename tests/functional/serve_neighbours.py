"""Serves the three neighbours on a port of this machine: what the tests with real clients talk to.

``python -m tests.functional.serve_neighbours DIRECTORY``; writes the port to ``DIRECTORY/port`` once it answers.
"""

import asyncio
import sys
from pathlib import Path

import uvicorn

from kilonova.model.clock import SystemClock
from tests.functional.neighbours import start


async def main(directory: Path) -> None:
    """Serve until the process is ended."""
    neighbours = await start(directory, clock=SystemClock())
    config = uvicorn.Config(
        neighbours.mounted, host="127.0.0.1", port=0, lifespan="off", interface="asgi3", log_level="warning"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    (directory / "port.new").write_text(str(port))
    (directory / "port.new").rename(directory / "port")
    await serving
    await neighbours.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
