"""The inspector: it takes what is plainly safe and refuses the rest; nothing makes it fall over."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonova.image.inspect import HEADER_BYTES, TAIL_BYTES, inspect, recognise
from kilonova.model.errors import Invalid


def qcow2(
    *,
    version: int = 3,
    backing: tuple[int, int] = (0, 0),
    cluster_bits: int = 16,
    size: int = 1 << 30,
    encryption: int = 0,
    incompatible: int = 0,
    extensions: bytes = bytes(8),
    header_length: int = 104,
) -> bytes:
    """A qcow2 header and enough zeros behind it."""
    head = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", version, *backing, cluster_bits, size, encryption, 1, 65536, 131072, 1, 0, 0
    )
    if version == 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, 4, header_length)
    return (head + extensions).ljust(262_144, b"\0")


def look(data: bytes, declared: str) -> int:
    found = inspect(data[:HEADER_BYTES], data[-TAIL_BYTES:], len(data), declared)
    assert found.disk_format == declared
    return found.virtual_size


@pytest.mark.parametrize("version", [2, 3])
def test_plain_qcow2_is_taken_with_its_virtual_size(version: int) -> None:
    assert look(qcow2(version=version), "qcow2") == 1 << 30


def test_raw_and_iso() -> None:
    assert look(b"\x00" * 70_000, "raw") == 70_000
    iso = bytearray(70_000)
    iso[32_769:32_774] = b"CD001"
    assert look(bytes(iso), "iso") == 70_000
    with pytest.raises(Invalid, match="content is iso"):
        look(bytes(iso), "raw")


@pytest.mark.parametrize(
    "image",
    [
        qcow2(backing=(104, 11)),
        qcow2(backing=(0, 11)),
        qcow2(backing=(1 << 63, 0)),
        qcow2(version=2, backing=(72, 5)),
        qcow2(encryption=1),
        qcow2(encryption=2),
        qcow2(incompatible=1 << 1),
        qcow2(incompatible=1 << 2),
        qcow2(incompatible=1 << 5),
        qcow2(incompatible=1 << 63),
        qcow2(extensions=struct.pack(">II", 0x44415441, 8) + b"/etc/pas" + bytes(8)),
        qcow2(version=2, extensions=struct.pack(">II", 0x44415441, 8) + b"/etc/pas" + bytes(8)),
        qcow2(extensions=struct.pack(">II", 0x0537BE77, 16) + bytes(24)),
        qcow2(extensions=struct.pack(">II", 1, 0xFFFFFFF0)),
        qcow2(version=4),
        qcow2(version=1),
        qcow2(cluster_bits=40),
        qcow2(size=0),
        qcow2(size=1 << 62),
        qcow2(header_length=8),
        qcow2(header_length=1 << 31),
        qcow2()[:60],
        qcow2()[:90],
        qcow2()[:4096],
    ],
)
def test_dangerous_or_broken_qcow2_is_refused(image: bytes) -> None:
    with pytest.raises(Invalid):
        look(image, "qcow2")


@pytest.mark.parametrize("bits", [0, 1 << 0, 1 << 3, 1 << 4])
def test_harmless_features_are_taken(bits: int) -> None:
    assert look(qcow2(incompatible=bits), "qcow2")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"KDMV", "vmdk"),
        (b"\n# Disk DescriptorFile\n", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vhd"),
        (bytes(64) + b"\x7f\x10\xda\xbe", "vdi"),
        (b"LUKS\xba\xbe", "luks"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"BZh9", "bzip2"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (bytes(257) + b"ustar", "tar"),
        (b"QED\x00", "qed"),
    ],
)
def test_other_formats_are_named_and_refused(data: bytes, name: str) -> None:
    padded = data.ljust(4096, b"\0")
    for declared in ("raw", "qcow2"):
        with pytest.raises(Invalid, match=name):
            look(padded, declared)


def test_a_fixed_vhd_signs_at_its_end() -> None:
    with pytest.raises(Invalid, match="vhd"):
        look(bytes(4096) + b"conectix".ljust(512, b"\0"), "raw")


def test_two_formats_at_once_are_refused() -> None:
    both = bytearray(qcow2())
    both[32_769:32_774] = b"CD001"
    for declared in ("qcow2", "iso", "raw"):
        with pytest.raises(Invalid, match="several"):
            look(bytes(both), declared)


def test_mismatch_and_nothing() -> None:
    with pytest.raises(Invalid, match="declared to be raw"):
        look(qcow2(), "raw")
    with pytest.raises(Invalid, match="declared to be qcow2"):
        look(b"MZ" * 5000, "qcow2")
    with pytest.raises(Invalid, match="empty"):
        inspect(b"", b"", 0, "raw")


@given(st.binary(max_size=600), st.sampled_from(["qcow2", "raw", "iso"]), st.integers(0, 1 << 70))
def test_random_bytes_never_crash_it(data: bytes, declared: str, size: int) -> None:
    try:
        found = inspect(data, data[-TAIL_BYTES:], size, declared)
    except Invalid:
        return
    assert found.disk_format == declared and found.virtual_size > 0


@given(st.binary(max_size=300), st.integers(0, 300))
def test_random_and_truncated_qcow2_headers_never_pass_with_a_backing_file(noise: bytes, cut: int) -> None:
    data = (b"QFI\xfb\x00\x00\x00\x03" + noise).ljust(4096, b"\0")[: max(cut, 8)]
    backed = data[8:20].strip(b"\0") != b""
    try:
        inspect(data, data[-TAIL_BYTES:], 1 << 40, "qcow2")
    except Invalid:
        return
    assert not backed and len(data) >= 104


@given(st.integers(1, (1 << 64) - 1), st.integers(0, (1 << 32) - 1))
def test_no_backing_file_is_ever_accepted(offset: int, length: int) -> None:
    assert recognise(qcow2(), b"") == ["qcow2"]
    for version in (2, 3):
        with pytest.raises(Invalid, match="backing"):
            look(qcow2(version=version, backing=(offset, length)), "qcow2")
