"""What schemathesis asks of every answer beside its own checks. In its environment, so it imports nothing of ours."""

import hashlib
import json
import os
import sqlite3
import zlib
from typing import Any

import schemathesis

_ASKED = json.loads(os.environ["KILONOVA_FUZZ"])
_QUERIES = (
    "select * from flavors order by id",
    "select * from flavor_access order by 1, 2",
    "select * from keypairs order by id",
    "select * from aggregates order by id",
    "select * from aggregate_hosts order by 1, 2",
    "select id, name, project_id, policy from server_groups order by id",
    "select * from quota_limits order by 1, 2",
    "select * from quota_user_limits order by 1, 2, 3",
    "select id, disabled, disabled_reason, forced_down from services order by id",
    "select id, name, description, metadata, tags, locked from servers order by id",
    "select id from actions order by id",
)
"""What only requests change: whatever goes on by itself (states, heartbeats, usage) is not looked at."""

_database = sqlite3.connect(f"file:{_ASKED['database']}?mode=ro", uri=True, timeout=30, check_same_thread=False)
_before = b""


def _fingerprint() -> bytes:
    digest = hashlib.sha256()
    for query in _QUERIES:
        digest.update(repr(_database.execute(query).fetchall()).encode("utf-8", "backslashreplace"))
    return digest.digest()


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Half of the ids are those of things that exist: most of what can go wrong lies behind them."""
    parts = context.operation.path.split("/")
    known = _ASKED["known"].get(parts[2] if len(parts) > 2 else "")
    if known and path_parameters:
        first = next(iter(path_parameters))
        if zlib.crc32(repr(path_parameters[first]).encode()) % 2:
            path_parameters[first] = known
    return path_parameters


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Remember how it was."""
    global _before  # noqa: PLW0603 -- hooks are functions, and one worker calls them in turn
    _before = _fingerprint()


@schemathesis.check
def server_never_fails(context: Any, response: Any, case: Any) -> None:
    """No 5xx but 501: what a driver or a service behind us cannot do, Nova answers so too (bare metal, a host's power)."""
    if response.status_code >= 500 and response.status_code != 501:
        raise AssertionError(f"answered {response.status_code}: {response.text[:300]}")


@schemathesis.check
def refusals_change_nothing(context: Any, response: Any, case: Any) -> None:
    """A 4xx left everything as it was."""
    if 400 <= response.status_code < 500 and _fingerprint() != _before:
        raise AssertionError(f"answered {response.status_code}, and something has changed")


@schemathesis.check
def nothing_of_others_is_told(context: Any, response: Any, case: Any) -> None:
    """What belongs to somebody else is in no answer, unless the request named it itself."""
    asked = f"{case.formatted_path}{case.query}{case.body}"
    for word in _ASKED["forbidden"]:
        if word in response.text and word not in asked:
            raise AssertionError(f"the answer holds {word!r}")
