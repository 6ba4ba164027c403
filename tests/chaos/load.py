"""What clients ask for while services are killed, and what they were answered."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.chaos.cloud import PASSWORD

PAUSE = 0.5
"""Seconds a client waits after a request that failed, as a patient one does."""


class Asked(msgspec.Struct, kw_only=True):
    """Everything that was asked and answered with 2xx, by server; and the answers of all requests."""

    created: set[str] = set()
    deleted: set[str] = set()
    perhaps_deleted: set[str] = set()  # nobody answered: both ends are right
    rebooted: set[str] = set()
    answers: Counter[str] = Counter()
    slowest: float = 0.0
    last_answer: float = 0.0

    @property
    def accepted(self) -> int:
        """Requests that were answered with 2xx."""
        return sum(count for answer, count in self.answers.items() if answer.startswith("2"))

    @property
    def unanswered(self) -> int:
        """Requests that got no answer, or a 5xx."""
        return sum(count for answer, count in self.answers.items() if not answer.startswith(("2", "4")))


class Client:
    """Several clients of one cloud. Requests without an answer are counted, and not repeated."""

    def __init__(self, url: str, concurrency: int, image: Path | None = None) -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self.http = httpx.AsyncClient(base_url=url, trust_env=False, limits=limits, timeout=60.0)
        self.concurrency = concurrency
        self.image = ""
        self.flavor = "1" if image is None else "42"  # m1.tiny, m1.nano
        self._file = image

    async def login(self) -> None:
        """Get a token, and make an image."""
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
        answer = (await self.http.post("/identity/v3/auth/tokens", json={"auth": auth})).raise_for_status()
        self.http.headers["x-auth-token"] = answer.headers["x-subject-token"]
        self.http.headers["openstack-api-version"] = "compute 2.100"
        disk_format = "raw" if self._file is None else "qcow2"
        body = {"name": "guest", "disk_format": disk_format, "container_format": "bare"}
        made = (await self.http.post("/image/v2/images", json=body)).raise_for_status()
        self.image = made.json()["id"]
        headers = {"content-type": "application/octet-stream"}
        content = b"\0" * 512 if self._file is None else await asyncio.to_thread(self._file.read_bytes)
        put = await self.http.put(f"/image/v2/images/{self.image}/file", content=content, headers=headers)
        put.raise_for_status()

    async def ask(self, asked: Asked, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """One request, counted; None if nobody answered."""
        began = time.monotonic()
        answer: httpx.Response | None = None
        try:
            answer = await self.http.request(method, f"/compute/v2.1{path}", json=body)
        except httpx.HTTPError as error:
            asked.answers[type(error).__name__] += 1
        else:
            asked.answers[str(answer.status_code)] += 1
        asked.last_answer = time.monotonic()
        if method == "POST":
            asked.slowest = max(asked.slowest, asked.last_answer - began)
        if answer is None or answer.status_code >= 500:
            await asyncio.sleep(PAUSE)
        return answer

    async def create(self, asked: Asked, name: str) -> str | None:
        """Ask for a server; its id if that was accepted."""
        server = {"name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": "auto"}
        answer = await self.ask(asked, "POST", "/servers", {"server": server})
        if answer is None or answer.status_code != 202:
            return None
        server_id = str(answer.json()["server"]["id"])
        asked.created.add(server_id)
        return server_id

    async def delete(self, asked: Asked, server_id: str) -> None:
        """Ask for its end."""
        asked.perhaps_deleted.add(server_id)
        answer = await self.ask(asked, "DELETE", f"/servers/{server_id}")
        if answer is not None and answer.status_code == 204:
            asked.deleted.add(server_id)

    async def reboot(self, asked: Asked, server_id: str) -> None:
        """Ask for a reboot."""
        answer = await self.ask(asked, "POST", f"/servers/{server_id}/action", {"reboot": {"type": "HARD"}})
        if answer is not None and answer.status_code == 202:
            asked.rebooted.add(server_id)

    async def burst(self, asked: Asked, settled: list[str], creates: int, at: Callable[[float], None]) -> None:
        """``creates`` creates, and a delete or reboot for each of ``settled``, mixed, ``concurrency`` at once.

        One in eight new servers is deleted right after its create was accepted. ``at`` hears how much of it is done.
        """
        dice = random.Random(11)
        work: list[tuple[str, str]] = [("create", f"burst-{number}") for number in range(creates)]
        work += [("delete" if number % 2 else "reboot", one) for number, one in enumerate(settled)]
        dice.shuffle(work)
        todo, done = iter(work), 0

        async def client() -> None:
            nonlocal done
            for what, name in todo:
                if what == "create":
                    server_id = await self.create(asked, name)
                    if server_id is not None and dice.random() < 1 / 8:
                        await self.delete(asked, server_id)
                elif what == "delete":
                    await self.delete(asked, name)
                else:
                    await self.reboot(asked, name)
                done += 1
                at(done / len(work))

        await asyncio.gather(*(client() for _ in range(self.concurrency)))

    async def close(self) -> None:
        """Give the connections back."""
        await self.http.aclose()
