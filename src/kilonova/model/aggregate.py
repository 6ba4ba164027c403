"""Aggregates: hosts an operator puts together, with metadata that rules may ask for; some of them are a zone."""

import msgspec

ZONE_KEY = "availability_zone"
"""The key of an aggregate's metadata that makes it an availability zone."""


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``aggregates`` and its hosts. Moments in microseconds."""

    id: int
    uuid: str
    name: str
    availability_zone: str | None
    metadata: dict[str, str]
    created_at: int
    updated_at: int | None
    hosts: list[str] = []
