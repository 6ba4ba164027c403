#!/usr/bin/env python3
"""Builds the test guest: a bootable BIOS disk (qcow2) out of Debian packages, without a compiler.

    guest/build.py [--refresh] [DIRECTORY]

The image appears as ``DIRECTORY/cirros-kilonova-0.1-x86_64-disk.qcow2`` (default: ``guest/build``); its path
is the last line printed. Downloads are kept in ``DIRECTORY/packages`` and used again; ``--refresh`` looks for
newer ones. Nothing is done when the image is newer than everything it is made of.

Needs root (owners and device permissions inside the image) and Debian 12 or later on x86-64.
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAME = "cirros-kilonova-0.1-x86_64-disk"
HERE = Path(__file__).resolve().parent

# Program the build calls -> the package that has it.
TOOLS = {
    "cpio": "cpio",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.fat": "dosfstools",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "syslinux": "syslinux",
}
MASTER_BOOT_RECORD = Path("/usr/lib/syslinux/mbr/mbr.bin")  # of the package syslinux-common

KERNEL = re.compile(r"linux-image-6\.1\.0-\d+-cloud-amd64")
PACKAGES = [
    "busybox-static",
    "dropbear-bin",
    "libc6",
    "libcrypt1",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "zlib1g",
]

# In the order of their dependencies: there is no modprobe in the first stage.
MODULES = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "drivers/char/hw_random/virtio-rng",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/virtio/virtio_balloon",
    "drivers/cdrom/cdrom",
    "fs/isofs/isofs",
    "drivers/acpi/button",
    "drivers/input/evdev",
]

MIB = 1 << 20
BOOT_MIB = 24
ROOT_MIB = 72
BOOT_START = MIB
ROOT_START = BOOT_START + BOOT_MIB * MIB
SIZE = ROOT_START + ROOT_MIB * MIB + MIB

# What the kernel need not do in a guest of a few seconds' life: probing timers, testing ciphers, hiding
# from attackers inside the guest. It is a test guest; nothing else belongs in it.
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0 apparmor=0 cryptomgr.notests"
    " random.trust_cpu=on no_timer_check tsc=reliable nowatchdog rcupdate.rcu_expedited=1"
)
SYSLINUX_CONFIG = f"""\
DEFAULT guest
PROMPT 0
LABEL guest
  KERNEL /vmlinuz
  INITRD /initrd
  APPEND {KERNEL_ARGUMENTS}
"""


def run(*command: str | Path, cwd: Path | None = None, data: bytes | None = None) -> bytes:
    """The output of ``command``; its error output ends the build if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed ({done.returncode}): {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def install_tools() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if not MASTER_BOOT_RECORD.exists():
        missing.append("syslinux-common")
    if missing:
        print("installing", *missing)
        run("apt-get", "install", "-y", "--no-install-recommends", *missing)


def newest_kernel() -> str:
    """The package of the newest signed 6.1 cloud kernel that the configured archives have."""
    listing = run("apt-cache", "pkgnames", "linux-image-6.1.0-").decode()
    names = [name for name in listing.split() if KERNEL.fullmatch(name)]
    if not names:
        sys.exit("no linux-image-6.1.0-*-cloud-amd64 among the known packages: run apt-get update first")
    return max(names, key=lambda name: int(name.split("-")[3]))


def download(packages: Path, *, refresh: bool) -> list[Path]:
    """The needed packages, from ``packages`` if they are all there."""
    packages.mkdir(parents=True, exist_ok=True)
    have = sorted(packages.glob("*.deb"))
    names = {path.name.split("_")[0] for path in have}
    complete = names.issuperset(PACKAGES) and any(KERNEL.fullmatch(name) for name in names)
    if complete and not refresh:
        return have
    with tempfile.TemporaryDirectory(dir=packages) as fresh:
        # As root in a directory of root's own, so apt cannot drop privileges: say so instead of being warned.
        run("apt-get", "-o", "APT::Sandbox::User=root", "download", newest_kernel(), *PACKAGES, cwd=Path(fresh))
        for path in have:
            path.unlink()
        for path in Path(fresh).glob("*.deb"):
            path.rename(packages / path.name)
    return sorted(packages.glob("*.deb"))


def fingerprint(packages: list[Path]) -> str:
    """Changes when a package or a file of ours does."""
    digest = hashlib.sha256()
    for package in packages:
        digest.update(f"{package.name} {package.stat().st_size}\n".encode())
    for path in sorted([HERE / "build.py", *(HERE / "root").rglob("*"), *(HERE / "initrd").rglob("*")]):
        if path.is_file():
            digest.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def link_applets(root: Path, busybox: Path) -> None:
    for applet in run(busybox, "--list-full").decode().split():
        link = root / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists() and not link.is_symlink():
            link.symlink_to("/bin/busybox")


def libraries_of(program: Path, unpacked: Path) -> set[Path]:
    """The shared libraries ``program`` needs, found below ``unpacked`` (never on this machine)."""
    directory = unpacked / "lib/x86_64-linux-gnu"
    places = [directory, unpacked / "usr/lib/x86_64-linux-gnu"]
    listing = run(
        directory / "ld-linux-x86-64.so.2", "--library-path", ":".join(map(str, places)), "--list", program
    ).decode()
    return {Path(part) for part in listing.split() if part.startswith(str(unpacked))}


def make_root(root: Path, unpacked: Path) -> None:
    """The tree of the guest's root file system."""
    for name in ["bin", "sbin", "dev", "proc", "sys", "run", "tmp", "root", "home/cirros", "mnt", "lib64"]:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ["etc/dropbear", "var/lib/guest", "var/log", "usr/lib/guest"]:
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    busybox = unpacked / "bin/busybox"
    shutil.copy2(busybox, root / "bin/busybox")
    # su needs to be root's; a copy of its own keeps the setuid bit away from all the other applets.
    shutil.copy2(busybox, root / "bin/su")
    link_applets(root, busybox)
    libraries = root / "lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    for program in ["usr/sbin/dropbear", "usr/bin/dropbearkey"]:
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(unpacked / program, root / program)
        for library in libraries_of(unpacked / program, unpacked):
            shutil.copy2(library.resolve(), libraries / library.name)
    loader = unpacked / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    shutil.copy2(loader.resolve(), root / "lib64/ld-linux-x86-64.so.2")
    (root / "etc/resolv.conf").symlink_to("/run/resolv")
    password = run(busybox, "mkpasswd", "-m", "sha512", "gocubsgo").decode().strip()
    write(root / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\ncirros:x:1000:1000:cirros:/home/cirros:/bin/sh\n")
    write(root / "etc/group", "root:x:0:\ntty:x:5:\ncirros:x:1000:\n")
    # root: no password for su, no login anywhere (securetty is empty, dropbear runs with -w).
    write(root / "etc/shadow", f"root::19000:0:99999:7:::\ncirros:{password}:19000:0:99999:7:::\n")
    (root / "etc/shadow").chmod(0o600)
    write(root / "etc/securetty", "")
    write(root / "etc/shells", "/bin/sh\n")
    for path in [root, *root.rglob("*")]:
        os.chown(path, 0, 0, follow_symlinks=False)
    os.chown(root / "home/cirros", 1000, 1000)
    (root / "bin/su").chmod(0o4755)  # last: chown takes the setuid bit away


def write(path: Path, text: str) -> None:
    path.write_text(text)


def unsigned(module: bytes) -> bytes:
    """The module without its signature, whose check takes an emulated processor longer than loading it.

    The signature's length stands in the last four bytes of the twelve before the closing words.
    """
    words = b"~Module signature appended~\n"
    if not module.endswith(words):
        return module
    end = len(module) - len(words)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def make_initrd(work: Path, unpacked: Path) -> Path:
    """The first stage: busybox and the modules the root disk hides behind."""
    tree = work / "initrd.tree"
    for name in ["bin", "modules", "proc", "sys", "dev", "newroot"]:
        (tree / name).mkdir(parents=True)
    shutil.copy2(unpacked / "bin/busybox", tree / "bin/busybox")
    for applet in ["sh", "mount", "insmod", "findfs", "usleep", "switch_root"]:
        (tree / "bin" / applet).symlink_to("busybox")
    shutil.copy2(HERE / "initrd/init", tree / "init")
    versions = list((unpacked / "lib/modules").iterdir())
    for module in MODULES:
        name = f"{module.rsplit('/', 1)[1]}.ko"
        (tree / "modules" / name).write_bytes(unsigned((versions[0] / "kernel" / f"{module}.ko").read_bytes()))
    write(tree / "modules/order", "".join(f"{module.rsplit('/', 1)[1]}\n" for module in MODULES))
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    archive = run("cpio", "-o", "-H", "newc", "--owner=0:0", cwd=tree, data=names.encode())
    initrd = work / "initrd"
    initrd.write_bytes(gzip.compress(archive, 9, mtime=0))
    return initrd


def make_disk(work: Path, kernel: Path, initrd: Path, root: Path, image: Path) -> None:
    """Master boot record, a FAT partition that syslinux boots from, an ext4 root; no mount, no loop device."""
    raw = work / "disk.raw"
    with raw.open("wb") as disk:
        disk.truncate(SIZE)
    layout = (
        f"label: dos\nstart={BOOT_START // 512}, size={BOOT_MIB * MIB // 512}, type=e, bootable\n"
        f"start={ROOT_START // 512}, size={ROOT_MIB * MIB // 512}, type=83\n"
    )
    run("sfdisk", "--quiet", raw, data=layout.encode())
    with raw.open("r+b") as disk:
        disk.write(MASTER_BOOT_RECORD.read_bytes())
    run("mkfs.fat", "-F16", "-n", "GUESTBOOT", "--offset", str(BOOT_START // 512), raw, str(BOOT_MIB * 1024))
    config = work / "syslinux.cfg"
    write(config, SYSLINUX_CONFIG)
    at = f"{raw}@@{BOOT_START}"
    run("mcopy", "-i", at, kernel, "::/vmlinuz")
    run("mcopy", "-i", at, initrd, "::/initrd")
    run("mcopy", "-i", at, config, "::/syslinux.cfg")
    run("syslinux", "--install", "--offset", str(BOOT_START), raw)
    partition = work / "root.ext4"
    # A journal, since servers lose their power without warning and the guest has no fsck.
    options = ["-q", "-t", "ext4", "-L", "guest-root", "-J", "size=4", "-O", "^metadata_csum"]
    run("mke2fs", *options, "-d", root, partition, f"{ROOT_MIB}M")
    run("dd", f"if={partition}", f"of={raw}", "bs=1M", f"seek={ROOT_START // MIB}", "conv=notrunc,sparse")
    unfinished = image.with_suffix(".partial")
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, unfinished)
    unfinished.rename(image)


def build(directory: Path, *, refresh: bool) -> Path:
    image = directory / f"{NAME}.qcow2"
    stamp = directory / "fingerprint"
    install_tools()
    packages = download(directory / "packages", refresh=refresh)
    wanted = fingerprint(packages)
    if image.exists() and stamp.exists() and stamp.read_text() == wanted:
        return image
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        work = Path(scratch)
        unpacked = work / "unpacked"
        unpacked.mkdir()
        for package in packages:
            run("dpkg-deb", "-x", package, unpacked)
        root = work / "root"
        make_root(root, unpacked)
        initrd = make_initrd(work, unpacked)
        make_disk(work, next((unpacked / "boot").glob("vmlinuz-*")), initrd, root, image)
    stamp.write_text(wanted)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the test guest's disk image.")
    parser.add_argument("directory", nargs="?", type=Path, default=HERE / "build", help="where to build (kept)")
    parser.add_argument("--refresh", action="store_true", help="look for newer packages")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("guest/build.py has to run as root: files inside the image belong to root")
    print(build(options.directory.resolve(), refresh=options.refresh))


if __name__ == "__main__":
    main()
