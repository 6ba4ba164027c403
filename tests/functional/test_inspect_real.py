"""The inspector against files that ``qemu-img`` itself wrote."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kilonova.image.inspect import HEADER_BYTES, TAIL_BYTES, inspect
from kilonova.model.errors import Invalid

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
SIZE = 16 << 20


def make(path: Path, *words: str, size: bool = True) -> Path:
    subprocess.run(
        ["qemu-img", "create", "-q", *words, str(path), *([str(SIZE)] if size else [])], check=True, timeout=60
    )
    return path


def look(path: Path, declared: str) -> int:
    data = path.read_bytes()
    return inspect(data[:HEADER_BYTES], data[-TAIL_BYTES:], len(data), declared).virtual_size


@pytest.mark.parametrize(
    "options",
    [
        "compat=0.10",
        "compat=1.1",
        "compat=1.1,lazy_refcounts=on",
        "cluster_size=512",
        "cluster_size=2M",
        "extended_l2=on,cluster_size=128k",
        "compression_type=zstd",
        "preallocation=metadata",
    ],
)
def test_what_qemu_writes_is_taken(tmp_path: Path, options: str) -> None:
    assert look(make(tmp_path / "disk", "-f", "qcow2", "-o", options), "qcow2") == SIZE


def test_raw(tmp_path: Path) -> None:
    assert look(make(tmp_path / "disk", "-f", "raw"), "raw") == SIZE


def test_backing_file(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "-f", "qcow2")
    for backing in (("-b", str(base), "-F", "qcow2"), ("-b", str(base), "-F", "raw")):
        over = make(tmp_path / "over", "-f", "qcow2", *backing)
        with pytest.raises(Invalid, match="backing"):
            look(over, "qcow2")


def test_data_file_and_encryption(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="another file"):
        look(make(tmp_path / "a", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}"), "qcow2")
    # Encryption is written into the headers by hand: qemu-img measures the processor for it, and fails on a busy machine.
    encrypted = make(tmp_path / "b", "-f", "qcow2")
    with encrypted.open("r+b") as file:
        file.seek(32)  # crypt_method, 2 is LUKS (qcow2 specification, "Header")
        file.write((2).to_bytes(4, "big"))
    with pytest.raises(Invalid, match="encrypted"):
        look(encrypted, "qcow2")
    luks = tmp_path / "c"
    luks.write_bytes(b"LUKS\xba\xbe\x00\x01" + bytes(1 << 20))
    with pytest.raises(Invalid, match="luks"):
        look(luks, "raw")


@pytest.mark.parametrize("name", ["vmdk", "vdi", "vhdx", "vpc", "qed", "parallels"])
def test_other_formats(tmp_path: Path, name: str) -> None:
    disk = make(tmp_path / "disk", "-f", name)
    for declared in ("raw", "qcow2"):
        with pytest.raises(Invalid, match="this cloud takes"):
            look(disk, declared)


def test_fixed_vhd(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="vhd"):
        look(make(tmp_path / "disk", "-f", "vpc", "-o", "subformat=fixed"), "raw")
