"""The image of zeros that clouds with imitated hosts have: our own inspection takes it, and its tables say nothing is stored."""

import struct

from kilonova.cli.blank_image import blank_qcow2
from kilonova.image.inspect import HEADER_BYTES, TAIL_BYTES, inspect


def test_it_is_plainly_a_qcow2_of_its_size() -> None:
    data = blank_qcow2(1 << 20)
    found = inspect(data[:HEADER_BYTES], data[-TAIL_BYTES:], len(data), "qcow2")
    assert (found.disk_format, found.virtual_size) == ("qcow2", 1 << 20)


def test_each_of_its_clusters_is_counted_once_and_none_is_a_guests() -> None:
    data = blank_qcow2(1 << 20)
    cluster = 1 << struct.unpack_from(">I", data, 20)[0]
    level1, table = struct.unpack_from(">QQ", data, 40)
    (block,) = struct.unpack_from(">Q", data, table)
    clusters = len(data) // cluster
    counts = struct.unpack_from(f">{clusters + 1}H", data, block)
    assert counts == (1,) * clusters + (0,)
    assert not any(data[level1:])
