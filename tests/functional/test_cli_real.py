"""The whole of `kilonova start` with a real guest, killed services, and a stop that leaves nothing."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilonova.cli.checkout import guest_image
from kilonova.hypervisor.qemu import machine, process
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import Misconfigured
from tests.functional.kilonova_command import Command, free_port

pytestmark = [pytest.mark.real, pytest.mark.slow]

BRIDGE = f"kncli{os.getpid() % 100_000}"


def devices() -> set[str]:
    return set(os.listdir("/sys/class/net"))  # noqa: PTH208 -- names are all we want


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    try:
        machine.require(QemuSettings())
    except Misconfigured as error:
        pytest.skip(error.message)
    if not guest_image().exists() and os.geteuid() != 0:
        pytest.skip("no test guest: make guest")
    made = Command(tmp_path, KILONOVA_NETWORK__BRIDGE=BRIDGE, KILONOVA_NETWORK__CIDR="10.219.0.0/24")
    yield made
    made.ok("stop")


def guests(command: Command) -> dict[str, int]:
    found: dict[str, int] = {}
    for instances in (command.state / "hosts").glob("*/instances"):
        found |= process.find(instances.resolve())
    return found


def test_a_real_guest_from_start_to_stop(command: Command) -> None:
    before = devices()
    arguments = ("start", "--driver", "qemu", "--port", str(free_port()))
    report = command.json(*arguments)
    server_id = report["server"]["server_id"]
    assert "kilonova-guest ready: hostname=first address=10.219.0." in report["server"]["ready"]
    (running,) = guests(command).items()
    assert running[0] == server_id

    command.kill_services()
    time.sleep(0.5)
    assert guests(command) == dict([running]), "the guest must not notice"
    assert "first  ACTIVE" in command.ok(*arguments)
    assert guests(command) == dict([running]), "it was picked up, not started again"

    command.ok("stop", "--keep-guests")
    assert guests(command) == dict([running])
    command.ok(*arguments)
    assert command.json("status")["servers"] == {"ACTIVE": 1}

    command.ok("stop")
    assert command.processes() == []
    assert {name for name in devices() - before if name == BRIDGE} == set()
    nothing = {name for name in devices() if (Path("/sys/class/net") / name / "master").exists()}
    assert not any((Path("/sys/class/net") / name / "master").resolve().name == BRIDGE for name in nothing)

    assert "first  ACTIVE" in command.ok(*arguments)
    assert set(guests(command)) == {server_id}, "it runs again, without being asked to"
