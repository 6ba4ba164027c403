"""The pure parts of the QEMU driver: command line, config drive documents, disk sizes, image inspection, console."""

import base64
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kilonova.hypervisor.qemu import console
from kilonova.hypervisor.qemu.accelerator import find_accelerator
from kilonova.hypervisor.qemu.configdrive import documents, meta_data, network_data, user_data
from kilonova.hypervisor.qemu.disks import root_size
from kilonova.hypervisor.qemu.images import objection
from kilonova.hypervisor.qemu.launch import check, command_line, disks, tap_name
from kilonova.hypervisor.qemu.record import GuestRecord, load, save
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import HostFault, Invalid, Misconfigured
from kilonova.model.guest import GuestSpec, ImageTicket, InjectedFile, Nic
from kilonova.model.topology.given import GivenCell, GivenTopology

SETTINGS = QemuSettings(root_ports=2)


def nic(number: int = 1, **changes: Any) -> Nic:
    made = Nic(
        port_id=f"0123456{number}-89ab-4cde-8f01-23456789abcd",
        network_id=f"network-{number}",
        network_name="private",
        mac=f"fa:16:3e:00:00:0{number}",
        address=f"10.{number}.0.7",
        cidr=f"10.{number}.0.0/20",
        gateway=f"10.{number}.0.1",
        dns=["10.1.0.2"],
        mtu=1442,
        bridge="br-test",
    )
    return msgspec.structs.replace(made, **changes)


def spec(**changes: Any) -> GuestSpec:
    made = GuestSpec(
        server_id="01234567-89ab-4cde-8f01-23456789abcd",
        name="web",
        hostname="web.example",
        project_id="project",
        user_id="user",
        vcpus=2,
        memory_mb=512,
        disk_gb=10,
        nics=[nic()],
    )
    return msgspec.structs.replace(made, **changes)


def ticket(**changes: Any) -> ImageTicket:
    made = ImageTicket(
        image_id="image", url="file", disk_format="qcow2", size=5, virtual_size=3 << 30, sha512="0" * 128
    )
    return msgspec.structs.replace(made, **changes)


def option(argv: list[str], name: str) -> list[str]:
    return [value for key, value in itertools.pairwise(argv) if key == name]


def test_the_command_line_says_what_the_spec_asks_for() -> None:
    argv = command_line(spec(), "tcg", SETTINGS)
    assert argv[0] == "qemu-system-x86_64"
    assert {"-S", "-nodefaults", "-no-user-config"} <= set(argv)
    assert option(argv, "-smp") == ["2"]
    assert option(argv, "-m") == ["size=512M"]
    assert option(argv, "-accel") == ["tcg,thread=multi,tb-size=32"]
    assert option(argv, "-uuid") == [spec().server_id]
    assert len([device for device in option(argv, "-device") if device.startswith("pcie-root-port")]) == 2
    assert option(argv, "-netdev") == [
        "tap,id=net-nic-tap01234561-89,ifname=tap01234561-89,script=no,downscript=no,vhost=off"
    ]
    assert any("mac=fa:16:3e:00:00:01,host_mtu=1442" in device for device in option(argv, "-device"))


def test_kvm_stands_alone() -> None:
    argv = command_line(spec(), "kvm", SETTINGS)
    assert option(argv, "-accel") == ["kvm"]
    assert "tcg" not in " ".join(argv)


def test_nothing_a_user_wrote_is_on_the_command_line() -> None:
    wild = spec(
        name="4711,name",
        hostname="4711-host",
        user_data="4711",
        metadata={"4711": "4711"},
        admin_password="4711",
        public_key="4711",
        key_name="4711",
        properties={"x": "4711"},
        extra_specs={"x": "4711"},
    )
    assert "4711" not in " ".join(command_line(wild, "tcg", SETTINGS))


def test_an_image_may_do_without_a_picture() -> None:
    argv = command_line(spec(properties={"hw_video_model": "none"}), "tcg", SETTINGS)
    assert option(argv, "-vnc") == []
    assert option(command_line(spec(), "tcg", SETTINGS), "-vnc") == ["unix:vnc.sock"]


def test_disks_come_in_the_order_of_their_names_and_with_their_formats() -> None:
    found = disks(spec(ephemeral_gb=1, swap_mb=1))
    assert [(disk.name, disk.format, disk.read_only) for disk in found] == [
        ("root", "qcow2", False),
        ("ephemeral", "raw", False),
        ("swap", "raw", False),
        ("config", "raw", True),
    ]
    assert [disk.name for disk in disks(spec(config_drive=False))] == ["root"]


def test_tap_names_fit_the_kernel() -> None:
    assert tap_name(nic()) == "tap01234561-89"
    odd = tap_name(nic(port_id="pört, with / everything"))
    assert len(odd) <= 15
    assert odd.isalnum()
    assert odd == tap_name(nic(port_id="pört, with / everything"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_id": "../x"},
        {"server_id": "01234567-89AB-4CDE-8F01-23456789ABCD"},
        {"vcpus": 0},
        {"memory_mb": 0},
        {"disk_gb": -1},
        {"nics": [nic(mac="fa:16:3e:00:00:01,x=y")]},
        {"nics": [nic(mtu=0)]},
    ],
)
def test_values_that_would_break_out_of_an_option_are_refused(wrong: dict[str, Any]) -> None:
    check(spec())
    with pytest.raises(Invalid):
        check(spec(**wrong))


def test_network_data() -> None:
    second = nic(2, dns=["10.1.0.2", "10.2.0.2"])
    data = network_data([nic(), second])
    assert data["links"][0] == {
        "id": "tap01234561-89",
        "vif_id": nic().port_id,
        "type": "bridge",
        "mtu": 1442,
        "ethernet_mac_address": "fa:16:3e:00:00:01",
    }
    assert data["networks"][0] == {
        "id": "network0",
        "type": "ipv4",
        "link": "tap01234561-89",
        "ip_address": "10.1.0.7",
        "netmask": "255.255.240.0",
        "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.1.0.1"}],
        "network_id": "network-1",
        "services": [{"type": "dns", "address": "10.1.0.2"}],
    }
    assert data["networks"][1]["routes"] == [], "one way out"
    assert data["services"] == [{"type": "dns", "address": "10.1.0.2"}, {"type": "dns", "address": "10.2.0.2"}]
    assert network_data([]) == {"links": [], "networks": [], "services": []}


def test_an_address_of_the_sixth_version() -> None:
    data = network_data([nic(address="fd00::7", cidr="fd00::/64", gateway="fd00::1")])
    network = data["networks"][0]
    assert (network["type"], network["netmask"]) == ("ipv6", "ffff:ffff:ffff:ffff::")
    assert network["routes"] == [{"network": "::", "netmask": "::", "gateway": "fd00::1"}]


def test_meta_data_has_what_the_guest_needs() -> None:
    document = meta_data(spec(public_key="ssh-ed25519 AAAA me\n", key_name="mine", metadata={"a": "b"}))
    assert document["uuid"] == spec().server_id
    assert document["hostname"] == "web.example"
    assert document["public_keys"] == {"mine": "ssh-ed25519 AAAA me"}
    assert document["keys"] == [{"name": "mine", "type": "ssh", "data": "ssh-ed25519 AAAA me"}]
    assert document["meta"] == {"a": "b"}
    assert "public_keys" not in meta_data(spec())
    assert document["dedicated_cpus"] == []


def test_a_guest_is_told_which_of_its_processors_have_one_of_their_own() -> None:
    cell = GivenCell(host_cell=0, shared=[0], pins=[(2, 4), (1, 7)], memory_mb=192)
    assert meta_data(spec(topology=GivenTopology(cells=[cell])))["dedicated_cpus"] == [1, 2]


def test_the_drive_has_every_version_and_user_data_only_if_there_is_some() -> None:
    files = documents(spec(user_data=base64.b64encode(b"#!/bin/sh\n\xff").decode()))
    assert files["openstack/latest/user_data"] == b"#!/bin/sh\n\xff"
    assert files["openstack/2018-08-27/meta_data.json"] == files["openstack/latest/meta_data.json"]
    assert {"openstack/latest/vendor_data.json", "ec2/latest/meta-data.json", "ec2/latest/user-data"} <= set(files)
    assert not any(name.endswith(("user_data", "user-data")) for name in documents(spec()))


def test_files_of_a_create_are_on_the_drive_and_named_in_its_document() -> None:
    one = InjectedFile(path="/etc/motd", contents=base64.b64encode(b"hello").decode())
    two = InjectedFile(path="/root/x", contents=base64.b64encode(b"\xff").decode())
    files = documents(spec(files=[one, two]))
    named = msgspec.json.decode(files["openstack/latest/meta_data.json"])["files"]
    assert [file["path"] for file in named] == ["/etc/motd", "/root/x"]
    assert [files[f"openstack{file['content_path']}"] for file in named] == [b"hello", b"\xff"]
    assert "files" not in meta_data(spec())


@pytest.mark.parametrize(
    ("text", "data"),
    [("aGVs\nbG8=", b"hello"), ("aGVs.bG8-=", b"hello"), ("x", b"x"), ("", b"")],
)
def test_user_data_is_base64_or_as_it_is(text: str, data: bytes) -> None:
    assert user_data(spec(user_data=text)) == data


def test_the_root_disk_is_the_flavors_or_the_images() -> None:
    assert root_size(spec(image=ticket())) == 10 << 30
    assert root_size(spec(image=ticket(), disk_gb=0)) == 3 << 30
    for wrong in (spec(image=ticket(), disk_gb=2), spec(disk_gb=0)):
        with pytest.raises(HostFault) as caught:
            root_size(wrong)
        assert not caught.value.retry


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({}, ""),
        ({"backing-filename": "/etc/shadow"}, "backing file"),
        ({"format-specific": {"data": {"data-file": "/etc/shadow"}}}, "another file"),
        ({"encrypted": True}, "encrypted"),
        ({"format-specific": {"data": {"corrupt": True}}}, "damaged"),
        ({"virtual-size": 1}, "bytes"),
    ],
)
def test_images_that_would_open_other_files_are_refused(info: dict[str, Any], reason: str) -> None:
    said = objection({"virtual-size": 3 << 30, **info}, ticket())
    assert reason in said
    assert bool(said) is bool(reason)


def test_the_record_is_private_and_survives(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    record = GuestRecord(spec=spec(admin_password="secret"), complete=True)
    save(tmp_path, record)
    assert load(tmp_path) == record
    assert (tmp_path / "guest.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["guest.json"]
    (tmp_path / "guest.json").write_text("{")
    assert load(tmp_path) is None


def test_the_end_of_a_console(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    assert console.tail(path, 100, None) == ""
    path.write_bytes(b"one\r\ntwo\r\nthree \xff\r\nfour")
    assert console.tail(path, 100, None) == "one\ntwo\nthree \ufffd\nfour"
    assert console.tail(path, 100, 2) == "three \ufffd\nfour"
    assert console.tail(path, 8, None) == "four", "no half lines"
    path.write_bytes(b"one\ntwo\n")
    assert console.tail(path, 100, 2) == "two\n", "the line that is about to be said counts"
    assert console.tail(path, 100, 0) == ""


def test_a_talkative_guest_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    console.trim(path, 10)
    with path.open("ab", buffering=0) as guest:
        guest.write(b"x" * 40)
        console.trim(path, 10)
        assert path.stat().st_size == 40
        guest.write(b"last words")
        console.trim(path, 10)
        assert path.read_bytes() == b"last words"
        guest.write(b"!")
    assert path.read_bytes() == b"last words!"


async def test_the_accelerator_is_proven_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = tmp_path / "qemu"
    monkeypatch.setattr("kilonova.hypervisor.qemu.accelerator.DEVICE", Path("/dev/null"))

    def settings(said: str, wish: str = "auto", kernel: str = "/dev/null") -> QemuSettings:
        qemu.write_text(f"#!/bin/sh\necho '{said}'\n")
        qemu.chmod(0o755)
        return QemuSettings(binary=str(qemu), accelerator=wish, probe_kernel=Path(kernel))

    answer = await find_accelerator(tmp_path, "1.0", settings("kvm_buf_set_msrs: Assertion failed"))
    assert answer.accelerator == "tcg"
    assert "does not run under it" in answer.warning
    proof = settings("VFS: Unable to mount root fs on unknown-block(0,0)")
    assert await find_accelerator(tmp_path, "1.0", proof) == answer, "the answer is kept"
    assert (await find_accelerator(tmp_path, "1.1", proof)).accelerator == "kvm", "another QEMU is asked again"
    with pytest.raises(Misconfigured, match="accelerator is kvm, but"):
        await find_accelerator(tmp_path, "1.2", settings("", "kvm"))
    with pytest.raises(Misconfigured, match="auto, kvm or tcg"):
        await find_accelerator(tmp_path, "1.0", settings("", "kvm:tcg"))
