"""A qcow2 image of zeros, made without any tool: what clouds with imitated hosts have in the place of a guest's disk."""

import struct

_CLUSTER = 1 << 16
_VERSION = 2
_NO_OFFSET = _NO_CRYPT = _NO_SNAPSHOTS = 0


def blank_qcow2(size: int) -> bytes:
    """An image of ``size`` bytes (at most 512 MiB), none of them stored: four clusters of tables.

    The layout is that of QEMU's qcow2 specification: header, refcount table, one refcount block, L1 table.
    """
    table, block, level1 = _CLUSTER, 2 * _CLUSTER, 3 * _CLUSTER
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        _VERSION,
        _NO_OFFSET,  # no backing file
        0,
        _CLUSTER.bit_length() - 1,
        size,
        _NO_CRYPT,
        1,  # entries of the L1 table: one covers 512 MiB
        level1,
        table,
        1,  # clusters of the refcount table
        _NO_SNAPSHOTS,
        0,
    )
    counts = struct.pack(">4H", 1, 1, 1, 1)
    clusters = (header, struct.pack(">Q", block), counts, b"")
    return b"".join(cluster.ljust(_CLUSTER, b"\0") for cluster in clusters)
