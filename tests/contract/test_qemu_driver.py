"""What only the QEMU driver can get wrong: a real machine, real images, real networks, real crashes."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from kilonova.hypervisor.qemu import bridge, machine
from kilonova.hypervisor.qemu.driver import QemuDriver
from kilonova.hypervisor.qemu.process import find
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.clock import SystemClock
from kilonova.model.errors import HostFault, Invalid, Misconfigured, NotFound, Unavailable
from kilonova.model.guest import GuestSpec, GuestState, ImageTicket
from kilonova.model.topology.given import GivenCell, GivenDevice, GivenTopology
from tests.contract.hypervisors import (
    BRIDGE,
    READY,
    FileFetcher,
    Login,
    QemuWorld,
    console_has,
    debug_monitor,
    eventually,
    guest_image,
    ticket_of,
)
from tests.contract.test_driver import running, silent, state_of

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="real guests need root")]

TCG = QemuSettings(accelerator="tcg")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[QemuWorld]:
    world = QemuWorld(tmp_path)
    await world.driver.start()
    yield world
    await world.close()


async def with_settings(world: QemuWorld, settings: QemuSettings) -> None:
    world.settings = settings
    await world.restart()


async def refused(world: QemuWorld, spec: GuestSpec) -> HostFault:
    """The fault of a preparation that fails, after which nothing is left."""
    with pytest.raises(HostFault) as caught:
        await world.driver.prepare(spec, silent)
    assert await world.driver.show_guest(spec.server_id) is None
    assert await world.leftovers() == []
    assert not list((world.directory / "state" / "images").glob("*.partial"))
    return caught.value


def gone(world: QemuWorld, server: str) -> bool:
    return world.pid(server) is None


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True)


async def greeting(address: str) -> str:
    """What the SSH server of a guest says first, asked from the host."""
    reader, writer = await asyncio.open_connection(address, 22)
    try:
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


async def test_guests_reach_each_other_and_keep_their_files(world: QemuWorld) -> None:
    one, two = world.spec(1, user_data="#!/bin/sh\necho made by user data >/home/cirros/made\n"), world.spec(2)
    await asyncio.gather(running_spec(world, one), running_spec(world, two))
    await console_has(world.driver, one.server_id, READY)
    await console_has(world.driver, two.server_id, READY)
    assert (await greeting(one.nics[0].address)).startswith("SSH-2.0-dropbear")
    async with Login(world.instances / one.server_id) as shell:
        assert "made by user data" in await shell.run("cat made")
        heard = await shell.run(f"nc -w 5 {two.nics[0].address} 22 </dev/null | head -c 7")
        assert "SSH-2.0" in heard
        assert "mtu 1450" in await shell.run("ip link show eth0")
        assert "uid=0(root)" in await shell.run("sudo id")
        assert " 1024M " in await shell.run("lsblk"), "the disk has the flavor's size, not the image's"
        await shell.run("echo kept >kept; sync")
    await world.driver.power_off(one.server_id, 0)
    await world.driver.power_on(one.server_id)
    await console_has(world.driver, one.server_id, READY, times=2)
    async with Login(world.instances / one.server_id) as shell:
        assert "kept" in await shell.run("cat kept")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client")
async def test_the_key_of_the_request_opens_the_guest(world: QemuWorld, tmp_path: Path) -> None:
    key = tmp_path / "key"
    await output_of("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    spec = world.spec(public_key=key.with_suffix(".pub").read_text(), key_name="mine")
    await running_spec(world, spec)
    await console_has(world.driver, spec.server_id, READY)
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    address = spec.nics[0].address
    assert await output_of("ssh", *options, "-i", key, f"cirros@{address}", "sudo id -u; hostname") == "0\nserver-1\n"
    assert "denied" in await output_of("ssh", *options, "-i", key, f"root@{address}", "id", fails=True)


async def output_of(*argv: str | Path, fails: bool = False) -> str:
    """What a program prints; with ``fails`` what it complains about."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert (process.returncode != 0) is fails, errors.decode()
    return (errors if fails else output).decode()


async def running_spec(world: QemuWorld, spec: GuestSpec) -> None:
    await world.driver.prepare(spec, silent)
    await world.driver.release(spec.server_id)


async def test_user_data_that_never_ends_does_not_hold_up_the_guest(world: QemuWorld) -> None:
    spec = world.spec(user_data="#!/bin/sh\nwhile :; do sleep 60; done\n")
    await running_spec(world, spec)
    said = await console_has(world.driver, spec.server_id, READY)
    assert "user data status running" in said


async def test_a_guest_restarts_itself_and_shuts_down_softly(world: QemuWorld) -> None:
    server = await running(world)
    await console_has(world.driver, server, READY)
    pid = world.pid(server)
    async with Login(world.instances / server) as shell:
        await shell.run("sudo reboot")
    await console_has(world.driver, server, READY, times=2)
    assert world.pid(server) == pid, "a restart from inside is the same process"
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.driver.power_off(server, 60)
    assert loop.time() - began < 30, "the guest heard the power button"
    assert await state_of(world.driver, server) is GuestState.OFF


async def test_a_paused_guest_is_not_a_prepared_one(world: QemuWorld) -> None:
    await world.driver.prepare(world.spec(1), silent)
    server = await running(world, 2)
    await debug_monitor(world.instances / server, "stop")

    async def paused() -> bool:
        return await state_of(world.driver, server) is GuestState.PAUSED

    await eventually(paused, "the pause is seen")
    await world.restart()
    assert await state_of(world.driver, server) is GuestState.PAUSED
    assert await state_of(world.driver, world.spec(1).server_id) is GuestState.PREPARED
    await world.driver.power_on(server)
    assert await state_of(world.driver, server) is GuestState.RUNNING


async def test_what_happened_while_the_agent_was_away_is_seen(world: QemuWorld) -> None:
    off, crashed, unborn = await running(world, 1), await running(world, 2), world.spec(3)
    await world.driver.prepare(unborn, silent)
    await console_has(world.driver, off, READY)
    await world.driver.stop()
    await debug_monitor(world.instances / off, "system_powerdown")
    await eventually(partial(gone, world, off), "the guest is off")
    for server in (crashed, unborn.server_id):
        await world.crash(server)
        await eventually(partial(gone, world, server), "the guest is dead")
    world.driver = world.make()
    await world.driver.start()
    assert await state_of(world.driver, off) is GuestState.OFF
    assert await state_of(world.driver, crashed) is GuestState.CRASHED
    assert await state_of(world.driver, unborn.server_id) is GuestState.CRASHED
    # What never ran may still be let go: the same guest, a new process.
    await world.driver.release(unborn.server_id)
    assert await state_of(world.driver, unborn.server_id) is GuestState.RUNNING


AGENT = """
import asyncio, sys
from pathlib import Path
import msgspec
from kilonova.hypervisor.qemu.driver import QemuDriver
from kilonova.hypervisor.qemu.process import find
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.clock import SystemClock
from kilonova.model.guest import GuestSpec
from tests.contract.hypervisors import FileFetcher

async def main():
    driver = QemuDriver(Path(sys.argv[1]), SystemClock(), FileFetcher(), QemuSettings(accelerator="tcg"))
    await driver.start()
    for number, text in enumerate(sys.argv[2:]):
        spec = msgspec.json.decode(text, type=GuestSpec)
        await driver.prepare(spec, lambda stage: print(stage, flush=True))
        if number == 0:
            await driver.release(spec.server_id)
    print("done", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def agent(world: QemuWorld, *specs: GuestSpec) -> subprocess.Popen[str]:
    """An agent in a process of its own, which prepares all ``specs`` and releases the first."""
    texts = [msgspec.json.encode(spec).decode() for spec in specs]
    state = str(world.directory / "state")
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen([sys.executable, "-c", AGENT, state, *texts], stdout=subprocess.PIPE, text=True, cwd=root)


async def test_guests_survive_the_agent_being_killed(world: QemuWorld) -> None:
    await world.driver.stop()
    with agent(world, world.spec(1), world.spec(2)) as victim:
        output = victim.stdout
        assert output is not None
        said = await asyncio.to_thread(lambda: [line.strip() for line in iter(output.readline, "done\n")])
        assert said.count("process") == 2
        victim.kill()
    pids = [world.pid(world.spec(number).server_id) for number in (1, 2)]
    world.driver = world.make()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.driver.start()
    assert loop.time() - began < 2, "attaching takes milliseconds"
    assert await state_of(world.driver, world.spec(1).server_id) is GuestState.RUNNING
    assert await state_of(world.driver, world.spec(2).server_id) is GuestState.PREPARED
    assert [world.pid(world.spec(number).server_id) for number in (1, 2)] == pids
    await console_has(world.driver, world.spec(1).server_id, READY)


@pytest.mark.parametrize("stage", ["image", "disk", "network", "process"])
async def test_an_agent_killed_in_the_middle_of_a_preparation(world: QemuWorld, stage: str) -> None:
    await world.driver.stop()
    with agent(world, world.spec(1)) as victim:
        assert victim.stdout is not None
        while (await asyncio.to_thread(victim.stdout.readline)).strip() != stage:
            pass
        victim.kill()
    world.driver = world.make()
    await world.driver.start()
    assert await state_of(world.driver, world.spec(1).server_id) is not GuestState.RUNNING
    await world.driver.prepare(world.spec(1), silent)
    assert await state_of(world.driver, world.spec(1).server_id) is GuestState.PREPARED
    await world.driver.destroy(world.spec(1).server_id)
    assert await world.leftovers() == []


async def test_an_image_is_fetched_once(world: QemuWorld) -> None:
    await asyncio.gather(*(world.driver.prepare(world.spec(number), silent) for number in (1, 2, 3)))
    await world.restart()
    await world.driver.prepare(world.spec(4), silent)
    assert world.fetcher.fetched == 1


async def test_an_image_that_does_not_exist(world: QemuWorld) -> None:
    class Nothing:
        async def fetch(self, ticket: ImageTicket, destination: Path) -> None:
            raise NotFound("there is no such image")

    class Nobody:
        async def fetch(self, ticket: ImageTicket, destination: Path) -> None:
            raise Unavailable("the image service does not answer")

    for fetcher, retry in ((Nothing(), False), (Nobody(), True)):
        await world.driver.stop()
        world.driver = QemuDriver(world.directory / "state", SystemClock(), fetcher, TCG)
        await world.driver.start()
        fault = await refused(world, world.spec())
        assert fault.retry is retry
        assert world.ticket.image_id in fault.message


async def test_broken_images_are_refused_for_good(world: QemuWorld, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"this is no disk" * 1000)
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(1 << 20))
    backed = tmp_path / "backed.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", backed)
    outside = tmp_path / "outside.qcow2"
    options = f"data_file={tmp_path / 'data'},data_file_raw=on"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, outside, "1M")
    broken = {
        "checksum": msgspec.structs.replace(world.ticket, sha512="0" * 128),
        "bytes arrived": msgspec.structs.replace(world.ticket, size=world.ticket.size + 1),
        "cannot be read": msgspec.structs.replace(ticket_of(text, "raw"), disk_format="qcow2"),
        "backing file": ticket_of(backed),
        "data in another file": ticket_of(outside),
        "and not 5": msgspec.structs.replace(world.ticket, virtual_size=5),
        "must be qcow2 or raw": msgspec.structs.replace(world.ticket, disk_format="vmdk"),
        "have a SHA-512": msgspec.structs.replace(world.ticket, sha512="../../etc/passwd"),
    }
    for reason, ticket in broken.items():
        fault = await refused(world, world.spec(image=ticket))
        assert not fault.retry
        assert reason in fault.message


async def test_a_raw_image_boots_as_well(world: QemuWorld, tmp_path: Path) -> None:
    raw = tmp_path / "guest.raw"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", guest_image(), raw)
    spec = world.spec(image=ticket_of(raw, "raw"), disk_gb=0, properties={"hw_video_model": "none"})
    await running_spec(world, spec)
    await console_has(world.driver, spec.server_id, READY)
    async with Login(world.instances / spec.server_id) as shell:
        assert f" {world.ticket.virtual_size >> 20}M " in await shell.run("lsblk"), "the image's own size"


async def test_ephemeral_and_swap_disks(world: QemuWorld) -> None:
    spec = world.spec(ephemeral_gb=2, swap_mb=64)
    await running_spec(world, spec)
    await console_has(world.driver, spec.server_id, READY)
    async with Login(world.instances / spec.server_id) as shell:
        disks = await shell.run("lsblk")
        assert " 2048M " in disks
        assert "   64M " in disks
        assert "/dev/vdb" in await shell.run("sudo findfs LABEL=ephemeral0")


async def test_a_disk_smaller_than_its_image(world: QemuWorld) -> None:
    spec = world.spec(image=msgspec.structs.replace(world.ticket, virtual_size=2 << 30))
    assert not (await refused(world, spec)).retry


async def test_a_host_without_disk_space(world: QemuWorld) -> None:
    await with_settings(world, msgspec.structs.replace(TCG, min_free_disk_mb=1 << 40))
    fault = await refused(world, world.spec())
    assert fault.retry
    assert "no disk space" in fault.message


async def test_a_guest_that_dies_at_its_start(world: QemuWorld) -> None:
    fault = await refused(world, world.spec(memory_mb=1 << 40))
    assert fault.retry
    assert "memory" in fault.details.lower() or "size" in fault.details.lower()
    assert world.spec().server_id in fault.message


async def test_a_qemu_that_never_answers(world: QemuWorld, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    deaf.write_text('#!/bin/sh\n[ "$1" = --version ] && exec qemu-system-x86_64 --version\nexec sleep 600\n')
    deaf.chmod(0o755)
    await with_settings(world, msgspec.structs.replace(TCG, binary=str(deaf), start_timeout=0.5))
    assert (await refused(world, world.spec())).retry


async def test_a_hung_qemu_can_be_destroyed(world: QemuWorld) -> None:
    await with_settings(world, msgspec.structs.replace(TCG, monitor_timeout=0.5))
    server = await running(world)
    pid = world.pid(server)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await world.restart()
    assert await state_of(world.driver, server) is GuestState.RUNNING, "as far as anybody can tell"
    await world.driver.destroy(server)
    assert await world.leftovers() == []


async def test_specs_that_would_break_out_are_refused(world: QemuWorld) -> None:
    nic = world.spec().nics[0]
    for spec in (
        world.spec(server_id="../../etc"),
        world.spec(nics=[msgspec.structs.replace(nic, mac="fa:16:3e:00:00:01,script=/tmp/x")]),
        world.spec(vcpus=0),
    ):
        with pytest.raises(Invalid):
            await world.driver.prepare(spec, silent)
    fault = await refused(world, world.spec(nics=[msgspec.structs.replace(nic, bridge="a-name-far-too-long")]))
    assert not fault.retry


async def test_secrets_are_neither_in_the_process_list_nor_readable(
    world: QemuWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    spec = world.spec(
        admin_password="pass-4711",
        user_data="user-4711",
        public_key="ssh-ed25519 key-4711",
        metadata={"a": "meta-4711"},
    )
    await world.driver.prepare(spec, silent)
    pid = world.pid(spec.server_id)
    assert b"4711" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"4711" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert "4711" not in caplog.text
    directory = world.instances / spec.server_id
    assert directory.stat().st_mode & 0o077 == 0
    for path in directory.iterdir():
        if path.is_file() and b"4711" in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("program", ["binary", "image_tool", "iso_tool"])
async def test_a_missing_program_is_named(tmp_path: Path, program: str) -> None:
    settings = msgspec.structs.replace(TCG, **{program: "not-there-4711"})
    driver = QemuDriver(tmp_path, SystemClock(), FileFetcher(), settings)
    with pytest.raises(Misconfigured, match=r"not-there-4711.*apt-get install"):
        await driver.start()


async def test_missing_rights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = QemuDriver(tmp_path, SystemClock(), FileFetcher(), TCG)
    with monkeypatch.context() as patch:
        patch.setattr(machine, "_capable", lambda capability: False)
        with pytest.raises(Misconfigured, match="run as root"):
            await driver.start()
    with monkeypatch.context() as patch:
        patch.setattr(machine, "TUN", tmp_path / "tun")
        with pytest.raises(Misconfigured, match="tun"):
            await driver.start()


async def test_one_agent_for_one_directory(world: QemuWorld) -> None:
    second = world.make()
    with pytest.raises(Misconfigured, match="another agent"):
        await second.start()


async def test_the_bridge_is_made_once_and_does_not_forward(world: QemuWorld) -> None:
    nic = world.spec().nics[0]
    await asyncio.gather(*(bridge.plug(nic) for _ in range(4)))
    assert Path(f"/proc/sys/net/ipv4/conf/{BRIDGE}/forwarding").read_text().strip() == "0"
    await bridge.unplug([nic])
    await bridge.unplug([nic])
    await bridge.remove_bridge(BRIDGE)
    await bridge.remove_bridge(BRIDGE)


async def test_the_bridge_of_a_projects_network_goes_with_its_last_guest(world: QemuWorld) -> None:
    own = msgspec.structs.replace(world.spec().nics[0], bridge="kn-test0", host_address="")
    other = msgspec.structs.replace(world.spec(2).nics[0], bridge="kn-test0", host_address="")

    def there() -> bool:
        return Path("/sys/class/net/kn-test0").exists()

    await bridge.plug(own)
    await bridge.plug(other)
    await bridge.unplug([own])
    assert there()
    await bridge.unplug([other])
    assert not there()
    await asyncio.gather(*(bridge.plug(own) for _ in range(3)), bridge.unplug([other]))
    assert there()
    await bridge.unplug([own, other])
    assert not there()


async def test_guests_of_a_projects_network_reach_each_other(world: QemuWorld) -> None:
    """Over a bridge on which the host has no address."""
    specs = []
    for number in (1, 2):
        nic = msgspec.structs.replace(world.spec(number).nics[0], bridge="kn-test0", host_address="", gateway=None)
        specs.append(world.spec(number, nics=[nic]))
    for spec in specs:
        await world.driver.prepare(spec, silent)
        await world.driver.release(spec.server_id)
    for spec in specs:
        await console_has(world.driver, spec.server_id, READY)
    async with Login(world.instances / specs[0].server_id) as shell:
        heard = await shell.run(f"nc -w 5 {specs[1].nics[0].address} 22 </dev/null | head -c 7")
        assert "SSH-2.0" in heard


# --- processors ------------------------------------------------------------------------------------------------


def affinities(world: QemuWorld, server: str) -> list[set[int]]:
    """On which of the host's processors each of the guest's threads may run."""
    pid = find(world.instances.resolve())[server]
    return [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


async def test_a_guest_runs_on_the_processors_it_was_given(world: QemuWorld) -> None:
    usable = sorted(os.sched_getaffinity(0))
    await with_settings(world, msgspec.structs.replace(TCG, shared_cpus=frozenset(usable[:1])))
    cell = GivenCell(host_cell=0, shared=[], pins=[(0, usable[-1])], memory_mb=192)
    spec = world.spec(topology=GivenTopology(cells=[cell]))
    await world.driver.prepare(spec, silent)
    assert all(one == {usable[-1]} for one in affinities(world, spec.server_id))
    plain = world.spec(2)
    await world.driver.prepare(plain, silent)
    assert all(one == {usable[0]} for one in affinities(world, plain.server_id))


@pytest.mark.parametrize("policy", ["isolate", "share"])
async def test_an_emulator_runs_where_it_was_asked_for(world: QemuWorld, policy: str) -> None:
    usable = sorted(os.sched_getaffinity(0))
    isolated = policy == "isolate"
    shared = frozenset() if isolated else frozenset(usable[:1])
    await with_settings(world, msgspec.structs.replace(TCG, shared_cpus=shared))
    emulator = usable[:1] if isolated else []
    cell = GivenCell(host_cell=0, shared=[], pins=[(0, usable[-1])], emulator=emulator, memory_mb=192)
    spec = world.spec(topology=GivenTopology(cells=[cell], emulator_shares=not isolated))
    await world.driver.prepare(spec, silent)
    found = affinities(world, spec.server_id)
    assert {usable[-1]} in found and {usable[0]} in found
    assert all(one in ({usable[0]}, {usable[-1]}) for one in found)


async def test_a_processor_that_is_not_there_is_told(world: QemuWorld) -> None:
    cell = GivenCell(host_cell=0, shared=[], pins=[(0, 4095)], memory_mb=192)
    fault = await refused(world, world.spec(topology=GivenTopology(cells=[cell])))
    assert "cpu_dedicated_set" in fault.message


@pytest.mark.parametrize(
    "topology",
    [
        GivenTopology(devices=[GivenDevice(alias="gpu", address="0000:01:00.0")]),
        GivenTopology(cells=[GivenCell(host_cell=at, shared=[at], pins=[], memory_mb=96) for at in (0, 1)]),
        GivenTopology(cells=[GivenCell(host_cell=0, shared=[0], pins=[], memory_mb=192)], page_kib=2048),
    ],
)
async def test_what_no_host_of_this_kind_reports_is_refused(world: QemuWorld, topology: GivenTopology) -> None:
    assert (await refused(world, world.spec(topology=topology))).retry


async def test_the_machine_is_one_cell(world: QemuWorld) -> None:
    topology = (await world.driver.resources()).topology
    assert topology is not None and topology.devices == []
    assert [cell.shared for cell in topology.cells] == [sorted(os.sched_getaffinity(0))]
