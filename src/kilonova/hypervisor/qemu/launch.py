"""From a guest's specification to the command line of its QEMU: a function without I/O.

Nothing a user wrote gets into the command line (names, metadata, user data): other users of the machine can
read it, and QEMU's option syntax has commas to escape. All paths are relative to the guest's directory, which
is the process's working directory; so socket paths stay short, and the state directory can be moved.
"""

import hashlib
import re

import msgspec

from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import Invalid
from kilonova.model.guest import GuestSpec, Nic

MONITOR = "qmp.sock"
DEBUG_MONITOR = "debug.sock"
SERIAL = "serial.sock"
CONSOLE = "console.log"
VNC = "vnc.sock"
PID = "qemu.pid"
LOG = "qemu.log"
ROOT_DISK = "disk.qcow2"
EPHEMERAL_DISK = "ephemeral.raw"
SWAP_DISK = "swap.raw"
CONFIG_DRIVE = "config.iso"
RESCUE = "rescue"

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class Disk(msgspec.Struct, frozen=True):
    """A file that becomes a disk of the guest: ``format`` is ``qcow2`` or ``raw``, never guessed by QEMU."""

    file: str
    format: str
    name: str
    read_only: bool = False
    boot: bool = False


def check(spec: GuestSpec) -> None:
    """Raise ``Invalid`` if a value that becomes part of a path or of an option is not what it must be."""
    if not UUID.fullmatch(spec.server_id):
        raise Invalid(f"server id {spec.server_id!r} is not a UUID in lower case")
    if spec.vcpus < 1 or spec.memory_mb < 1 or min(spec.disk_gb, spec.ephemeral_gb, spec.swap_mb) < 0:
        raise Invalid(f"server {spec.server_id} needs at least one processor, 1 MiB of memory and no negative disk")
    for nic in spec.nics:
        if not MAC.fullmatch(nic.mac) or not 68 <= nic.mtu <= 65521:
            raise Invalid(f"port {nic.port_id} has no valid MAC address or MTU ({nic.mac!r}, {nic.mtu})")


def disks(spec: GuestSpec, *, rescued: bool = False) -> list[Disk]:
    """The guest's disks in the order of their names there (vda, vdb, …). A rescue system comes before its own."""
    found = [Disk(ROOT_DISK, "qcow2", "root", boot=not rescued)]
    if rescued:
        found.insert(0, Disk(f"{RESCUE}/{ROOT_DISK}", "qcow2", "rescue", boot=True))
    if spec.ephemeral_gb:
        found.append(Disk(EPHEMERAL_DISK, "raw", "ephemeral"))
    if spec.swap_mb:
        found.append(Disk(SWAP_DISK, "raw", "swap"))
    if spec.config_drive:
        found.append(Disk(f"{RESCUE}/{CONFIG_DRIVE}" if rescued else CONFIG_DRIVE, "raw", "config", read_only=True))
    return found


def tap_name(nic: Nic) -> str:
    """The host's end of a network card: ``tap`` and the port's first 11 letters, as OpenStack names it.

    A port id that is not the usual UUID is hashed, since a device name may have only 15 plain letters.
    """
    prefix = nic.port_id[:11]
    if len(prefix) < 11 or not prefix.replace("-", "").isalnum() or not prefix.isascii():
        prefix = hashlib.sha256(nic.port_id.encode()).hexdigest()[:11]
    return f"tap{prefix}"


def slots(spec: GuestSpec) -> list[int]:
    """The root port of each network card: the same on every host, so that a guest can move between them."""
    return [number if nic.slot is None else nic.slot for number, nic in enumerate(spec.nics)]


def card_id(nic: Nic) -> str:
    """What the guest's end of a network card is called in QEMU; its netdev is called ``net-`` and the same."""
    return f"nic-{tap_name(nic)}"


def command_line(spec: GuestSpec, accelerator: str, settings: QemuSettings, *, rescued: bool = False) -> list[str]:
    """QEMU's arguments. The processors are always stopped at first (``-S``): the monitor lets them go."""
    return [
        settings.binary,
        *("-name", f"guest={spec.server_id}", "-uuid", spec.server_id),
        *("-nodefaults", "-no-user-config", "-S", "-display", "none", "-pidfile", PID),
        *("-machine", "q35,usb=off,vmport=off,smbus=off,sata=off,dump-guest-core=off"),
        *_accelerator(accelerator, settings),
        *("-smp", str(spec.vcpus), "-m", f"size={spec.memory_mb}M"),
        *("-rtc", "base=utc", "-boot", "strict=on,menu=off"),
        # What cloud-init looks at to find out that it runs in an OpenStack cloud.
        *("-smbios", "type=1,manufacturer=Kilonova,product=OpenStack Nova"),
        # A guest may restart itself; when it powers off, the process ends.
        *("-action", "reboot=reset,shutdown=poweroff"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *_monitors(),
        *_serial_console(),
        *_display(spec),
        *_root_ports(max(settings.root_ports, *(slot + 1 for slot in slots(spec)), 0)),
        *_small_devices(),
        *(argument for disk in disks(spec, rescued=rescued) for argument in _disk(disk)),
        *(argument for slot, nic in zip(slots(spec), spec.nics, strict=True) for argument in _nic(slot, nic)),
    ]


def _accelerator(accelerator: str, settings: QemuSettings) -> list[str]:
    # One model of processor for all hosts of a kind, so that a guest can move between them. No list of
    # accelerators: QEMU takes the first that opens, not the first that works.
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", f"tcg,thread=multi,tb-size={settings.translation_cache_mb}", "-cpu", "max"]


def _monitors() -> list[str]:
    # A monitor serves one client at a time; the second is for people, who must not lock the agent out.
    return [
        *("-chardev", f"socket,id=qmp,path={MONITOR},server=on,wait=off", "-mon", "chardev=qmp,mode=control"),
        *(
            "-chardev",
            f"socket,id=debug,path={DEBUG_MONITOR},server=on,wait=off",
            "-mon",
            "chardev=debug,mode=control",
        ),
    ]


def _serial_console() -> list[str]:
    serial = f"socket,id=serial,path={SERIAL},server=on,wait=off,logfile={CONSOLE},logappend=on"
    return ["-chardev", serial, "-serial", "chardev:serial"]


def _display(spec: GuestSpec) -> list[str]:
    # A picture costs an emulated boot half a second; an image that has none says so with Nova's property.
    if spec.properties.get("hw_video_model") == "none":
        return ["-vga", "none"]
    return ["-vnc", f"unix:{VNC}", "-device", "VGA,vgamem_mb=8"]


def _root_ports(count: int) -> list[str]:
    return [
        argument
        for number in range(count)
        for argument in ("-device", f"pcie-root-port,id=port{number},chassis={number + 1},slot={number}")
    ]


def _small_devices() -> list[str]:
    return [
        *("-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"),
        *("-device", "virtio-balloon-pci", "-device", "vmgenid,guid=auto"),
    ]


def _disk(disk: Disk) -> list[str]:
    read_only = "on" if disk.read_only else "off"
    file = f"driver={disk.format},node-name={disk.name},read-only={read_only},discard=unmap"
    device = f"virtio-blk-pci,drive={disk.name},id=disk-{disk.name},serial={disk.name}"
    return [
        *("-blockdev", f"{file},file.driver=file,file.filename={disk.file}"),
        *("-device", f"{device},bootindex=0" if disk.boot else device),
    ]


def _nic(slot: int, nic: Nic) -> list[str]:
    # Behind a root port, as nothing can be pulled out of the root bus itself. No network boot ROM: loading it takes longer than
    # the rest of the firmware.
    name = card_id(nic)
    card = f"virtio-net-pci,bus=port{slot},netdev=net-{name},id={name},mac={nic.mac},host_mtu={nic.mtu},romfile="
    return [
        *("-netdev", f"tap,id=net-{name},ifname={tap_name(nic)},script=no,downscript=no,vhost=off"),
        *("-device", card),
    ]
