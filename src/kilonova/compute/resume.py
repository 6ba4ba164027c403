"""The guests that are to run again when nova-compute starts: those that were shut down together with the cloud.

A guest found OFF while its server is ACTIVE was normally shut down from inside, and its server follows. But whoever
stops the whole cloud with its guests (``kilonova stop``) leaves a list in the host's directory, *before* it shuts the first
one down; the next nova-compute powers on exactly these, if the database still says ACTIVE, and removes the list.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

FILE = "resume.json"


class ResumeList:
    """The list of one host."""

    def __init__(self, host_directory: Path) -> None:
        self._file = host_directory / FILE

    def read(self) -> frozenset[str]:
        """The servers on it; none if there is no list, or one that cannot be read."""
        try:
            return frozenset(msgspec.json.decode(self._file.read_bytes(), type=list[str]))
        except (FileNotFoundError, msgspec.MsgspecError):
            return frozenset()

    def add(self, server_ids: Iterable[str]) -> None:
        """Put servers on it; those of an earlier stop that nobody has resumed yet stay."""
        draft = self._file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(sorted(self.read().union(server_ids))))
        draft.replace(self._file)

    def clear(self) -> None:
        """They have been resumed."""
        self._file.unlink(missing_ok=True)
