"""The worlds the driver contract runs in: a fake host, and this machine with the test guest."""

import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from qemu.qmp import QMPClient

from kilonova.hypervisor.driver import Driver
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.settings import FakeSettings
from kilonova.hypervisor.qemu import bridge
from kilonova.hypervisor.qemu.driver import QemuDriver
from kilonova.hypervisor.qemu.launch import card_id, tap_name
from kilonova.hypervisor.qemu.process import find
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.clock import SystemClock
from kilonova.model.errors import NotFound
from kilonova.model.guest import GuestSpec, GuestState, ImageTicket, ImageUpload, Nic

ROOT = Path(__file__).resolve().parents[2]
BRIDGE = "kntest0"
HOST_ADDRESS = "10.222.0.1/24"
READY = "kilonova-guest ready:"
PATIENCE = 120.0
"""Seconds until a test gives up waiting: a guest boots in 3 to 8, but the machine may be busy."""


async def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true answer of ``condition`` (plain or async)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert loop.time() < deadline, f"not within {patience:g} s: {what}"
        await asyncio.sleep(0.02)


async def console_has(driver: Driver, server_id: str, text: str, times: int = 1) -> str:
    """The console once ``text`` is on it ``times`` times."""

    async def look() -> str:
        said = await driver.console_output(server_id, None)
        return said if said.count(text) >= times else ""

    return str(await eventually(look, f"{text!r} {times} times on the console of {server_id}"))


def server_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


class FileUploader:
    """Keeps what is uploaded in a file; with ``gone`` the image was deleted meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.gone = False

    async def upload(self, upload: ImageUpload, size: int, pieces: AsyncIterator[bytes]) -> None:
        if self.gone:
            raise NotFound("the image was deleted")
        content = b"".join([piece async for piece in pieces])
        assert len(content) == size
        self.path.write_bytes(content)


class World(ABC):
    """Makes drivers on one host, and knows what only an outsider can do to its guests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.uploader = FileUploader(directory / "uploaded")
        self.driver: Driver = self.make()

    @abstractmethod
    def make(self) -> Driver:
        """A driver on the same state as the one before: what a restarted agent has."""

    @abstractmethod
    async def shut_down_by_itself(self, server: str) -> None:
        """The guest powers itself off."""

    @abstractmethod
    async def crash(self, server: str) -> None:
        """The guest dies."""

    @abstractmethod
    async def leftovers(self) -> list[str]:
        """What is on the host of any guest."""

    @abstractmethod
    async def cards(self, server: str) -> set[str]:
        """The ports whose cards the guest has, whatever the driver says."""

    async def restart(self) -> Driver:
        await self.driver.stop()
        self.driver = self.make()
        await self.driver.start()
        return self.driver

    async def close(self) -> None:
        for guest in await self.driver.list_guests():
            await self.driver.destroy(guest.server_id)
        await self.driver.stop()

    def spec(self, number: int = 1, **changes: Any) -> GuestSpec:
        nic = Nic(
            port_id=f"{number:08x}-1111-4000-8000-000000000000",
            network_id="net",
            network_name="private",
            mac=f"fa:16:3e:00:00:{number:02x}",
            address=f"10.222.0.{number + 10}",
            cidr="10.222.0.0/24",
            gateway="10.222.0.1",
            mtu=1450,
            bridge=BRIDGE,
            host_address=HOST_ADDRESS,
        )
        spec = GuestSpec(
            server_id=server_id(number),
            name=f"server, {number}",
            hostname=f"server-{number}",
            project_id="project",
            user_id="user",
            vcpus=1,
            memory_mb=192,
            disk_gb=1,
            nics=[nic],
            epoch=5,
        )
        return msgspec.structs.replace(spec, **changes)


class FakeWorld(World):
    def make(self) -> Driver:
        return FakeDriver(
            SystemClock(), random.Random(1), FakeSettings(), self.directory / "guests.jsonl", self.uploader
        )

    async def shut_down_by_itself(self, server: str) -> None:
        assert isinstance(self.driver, FakeDriver)
        self.driver.end_guest(server, GuestState.OFF)

    async def crash(self, server: str) -> None:
        assert isinstance(self.driver, FakeDriver)
        self.driver.end_guest(server, GuestState.CRASHED)

    async def cards(self, server: str) -> set[str]:
        assert isinstance(self.driver, FakeDriver)
        return {nic.port_id for nic in self.driver.nics(server)}

    async def leftovers(self) -> list[str]:
        return [guest.server_id for guest in await self.driver.list_guests()]


class FileFetcher:
    """Takes images from files: the ticket's URL is a path."""

    def __init__(self) -> None:
        self.fetched = 0

    async def fetch(self, ticket: ImageTicket, destination: Path) -> None:
        self.fetched += 1
        await asyncio.to_thread(shutil.copyfile, ticket.url, destination)


class QemuWorld(World):
    settings = QemuSettings(accelerator="tcg")

    def __init__(self, directory: Path) -> None:
        self.fetcher = FileFetcher()
        self.ticket = ticket_of(guest_image())
        super().__init__(directory)

    @property
    def instances(self) -> Path:
        return self.directory / "state" / "instances"

    def make(self) -> Driver:
        return QemuDriver(self.directory / "state", SystemClock(), self.fetcher, self.settings, self.uploader)

    def spec(self, number: int = 1, **changes: Any) -> GuestSpec:
        return super().spec(number, **{"image": self.ticket, **changes})

    def pid(self, server: str) -> int | None:
        return find(self.instances.resolve()).get(server)

    async def shut_down_by_itself(self, server: str) -> None:
        # Somebody else than the driver presses the power button; the guest does the rest.
        await console_has(self.driver, server, READY)
        await debug_monitor(self.instances / server, "system_powerdown")

    async def crash(self, server: str) -> None:
        pid = self.pid(server)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def cards(self, server: str) -> set[str]:
        devices = await debug_monitor(self.instances / server, "qom-list", {"path": "/machine/peripheral"})
        names = {entry["name"] for entry in devices}
        taps = {name for _, name in socket.if_nameindex()}
        found = set()
        for number in range(1, 20):
            nic = self.spec(number).nics[0]
            assert (card_id(nic) in names) == (tap_name(nic) in taps)
            found |= {nic.port_id} if card_id(nic) in names else set()
        return found

    async def leftovers(self) -> list[str]:
        directories = [path.name for path in self.instances.iterdir()] if self.instances.exists() else []
        processes = [f"process {pid}" for pid in find(self.instances.resolve()).values()]
        ours = {tap_name(self.spec(number).nics[0]) for number in range(1, 20)}
        taps = [name for _, name in socket.if_nameindex() if name in ours]
        return [*directories, *processes, *taps]

    async def close(self) -> None:
        await super().close()
        assert await self.leftovers() == []
        await bridge.remove_bridge(BRIDGE)


def guest_image() -> Path:
    """The test guest's image, built if need be (seconds, once)."""
    done = subprocess.run([sys.executable, ROOT / "guest" / "build.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def ticket_of(path: Path, disk_format: str = "qcow2") -> ImageTicket:
    """A ticket for an image file, as the image service would give it."""
    info = subprocess.run(
        ["qemu-img", "info", "--output=json", "-f", disk_format, path], capture_output=True, check=True
    )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
    return ImageTicket(
        image_id="11111111-aaaa-4000-8000-000000000000",
        url=str(path),
        disk_format=disk_format,
        size=path.stat().st_size,
        virtual_size=json.loads(info.stdout)["virtual-size"],
        sha512=digest,
    )


async def debug_monitor(directory: Path, command: str, arguments: dict[str, object] | None = None) -> Any:
    """One command through the monitor that is for people; its answer."""
    client = QMPClient("test")
    handle = os.open(directory, os.O_PATH)
    try:
        await client.connect(f"/proc/self/fd/{handle}/debug.sock")
        return await client.execute(command, arguments)
    finally:
        os.close(handle)
        await client.disconnect()


class Login:
    """A shell in a guest, over its serial console."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def __aenter__(self) -> "Login":
        handle = os.open(self._directory, os.O_PATH)
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(f"/proc/self/fd/{handle}/serial.sock")
        finally:
            os.close(handle)
        self._writer.write(b"\n")
        await self._until(b"login: ")
        self._writer.write(b"cirros\n")
        await self._until(b"assword: ")
        self._writer.write(b"gocubsgo\n")
        await self._until(b"$ ")
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    async def run(self, command: str) -> str:
        """What ``command`` prints."""
        self._writer.write(f"{command}; echo en''d\n".encode())
        said = await self._until(b"end\r\n")
        return said.replace("\r", "").partition("\n")[2].removesuffix("end\n")

    async def _until(self, text: bytes) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self._reader.readuntil(text)).decode(errors="replace")
