"""What is in an image file, by its own header; nobody is believed, nothing is guessed.

A hypervisor that opens a disk with the wrong format, or a qcow2 that names another file as its backing or data file,
hands a guest the host's files. So an upload is accepted only if its bytes are plainly what they were declared to be,
match one format and no second one, and, for qcow2, stand alone. After that the format found here is passed on and
never looked for again.

Reference: QEMU, ``docs/interop/qcow2``; the magic numbers of the other formats from their specifications.
"""

import struct

import msgspec

from kilonova.model.errors import Invalid

HEADER_BYTES = 65_536
"""How much of the file's beginning :func:`inspect` wants to see (or all of a shorter file)."""

TAIL_BYTES = 512
"""How much of its end; some formats sign there."""

LARGEST_DISK = 64 << 40
"""Bytes a guest may believe its disk to have."""

ACCEPTED = ("qcow2", "raw", "iso")

_AT_START = (
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"COWD", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vhd"),
    (b"LUKS\xba\xbe", "luks"),
    (b"QED\x00", "qed"),
    (b"WithoutFreeSpace", "ploop"),
    (b"WithouFreSpacExt", "ploop"),
    (b"Bochs Virtual HD Image", "bochs"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
)
_ELSEWHERE = (
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (257, b"ustar", "tar"),
    (32_769, b"CD001", "iso"),
)
_AT_END = ((b"conectix", "vhd"), (b"koly", "dmg"))


class Inspection(msgspec.Struct, frozen=True):
    """The format found (``qcow2``, ``raw`` or ``iso``) and the size of the disk in bytes."""

    disk_format: str
    virtual_size: int


def inspect(header: bytes, tail: bytes, size: int, declared: str) -> Inspection:
    """Look at the first ``HEADER_BYTES`` and last ``TAIL_BYTES`` of a file of ``size`` bytes.

    Raises ``Invalid`` with a sentence for its owner unless it is what it was ``declared`` to be and safe to open.
    """
    if size == 0:
        raise Invalid("The image is empty.")
    found = recognise(header, tail)
    if len(found) > 1:
        raise Invalid(f"The image looks like several formats at once ({', '.join(found)}).")
    actual = found[0] if found else "raw"
    if actual not in ACCEPTED:
        raise Invalid(f"The image's content is {actual}; this cloud takes {', '.join(ACCEPTED)}. Convert it first.")
    if actual != declared:
        raise Invalid(f"The image was declared to be {declared}, but its content is {actual}.")
    if actual == "qcow2":
        return Inspection("qcow2", _qcow2(header, size))
    if size > LARGEST_DISK:
        raise Invalid("The image is larger than any disk here may be.")
    return Inspection(actual, size)


def recognise(header: bytes, tail: bytes) -> list[str]:
    """Every format whose signature is in the file, sorted; empty for raw data."""
    found = {name for magic, name in _AT_START if header.startswith(magic)}
    found |= {name for at, magic, name in _ELSEWHERE if header[at : at + len(magic)] == magic}
    found |= {name for magic, name in _AT_END if len(tail) == TAIL_BYTES and tail.startswith(magic)}
    if b"# disk descriptorfile" in header[:512].lower():
        found.add("vmdk")
    return sorted(found)


# --- qcow2 -------------------------------------------------------------------------------------------------

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")  # magic … snapshots_offset: 72 bytes
_V3 = struct.Struct(">QQQII")  # incompatible, compatible, autoclear features, refcount_order, header_length
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_BEARABLE = _DIRTY | _COMPRESSION | _EXTENDED_L2
_EXTENSION = struct.Struct(">II")
_EXTENSION_DATA_FILE = 0x44415441
_EXTENSION_LUKS = 0x0537BE77


def _qcow2(header: bytes, size: int) -> int:
    """The virtual size. Raises ``Invalid`` for whatever points out of the file, is damaged, or is unknown."""
    if len(header) < _V2.size:
        raise Invalid("The qcow2 image ends within its header.")
    (_, version, backing_offset, backing_size, cluster_bits, virtual_size, encryption, l1_entries, l1_offset, *_) = (
        _V2.unpack_from(header)
    )
    if version not in (2, 3):
        raise Invalid(f"The qcow2 image has version {version}; 2 and 3 are known.")
    if backing_offset or backing_size:
        raise Invalid("The qcow2 image has a backing file; flatten it first (qemu-img convert).")
    if encryption:
        raise Invalid("The qcow2 image is encrypted.")
    if not 9 <= cluster_bits <= 21:
        raise Invalid("The qcow2 image's cluster size is out of range.")
    if not 0 < virtual_size <= LARGEST_DISK:
        raise Invalid("The qcow2 image's virtual size is out of range.")
    if l1_offset >= size or l1_offset + 8 * l1_entries > size:
        raise Invalid("The qcow2 image is cut off: its tables lie beyond its end.")
    if version == 3:
        _version_3(header, 1 << cluster_bits)
    else:
        _extensions(header, _V2.size, 1 << cluster_bits)
    return int(virtual_size)


def _version_3(header: bytes, cluster: int) -> None:
    if len(header) < _V2.size + _V3.size:
        raise Invalid("The qcow2 image ends within its header.")
    incompatible, _, _, _, length = _V3.unpack_from(header, _V2.size)
    if incompatible & _DATA_FILE:
        raise Invalid("The qcow2 image keeps its data in another file.")
    if incompatible & _CORRUPT:
        raise Invalid("The qcow2 image is marked as corrupt.")
    if incompatible & ~_BEARABLE:
        raise Invalid("The qcow2 image uses features that are not known here.")
    if length < _V2.size + _V3.size or length % 8 or length > cluster:
        raise Invalid("The qcow2 image's header length is out of range.")
    _extensions(header, length, cluster)


def _extensions(header: bytes, at: int, cluster: int) -> None:
    """Walk the header extensions up to their end mark; they must lie in the first cluster and in our view."""
    end = min(cluster, len(header))
    while at + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(header, at)
        if kind == 0:
            return
        if kind == _EXTENSION_DATA_FILE:
            raise Invalid("The qcow2 image keeps its data in another file.")
        if kind == _EXTENSION_LUKS:
            raise Invalid("The qcow2 image is encrypted.")
        at += _EXTENSION.size + (length + 7) // 8 * 8
    raise Invalid("The qcow2 image's header does not end where it should.")
