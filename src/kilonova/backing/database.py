"""What the two database servers share: databases by name, and their SQLAlchemy URLs."""

import os
import re
import shutil
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from kilonova.backing.server import LOOPBACK, PrivateServer
from kilonova.model.errors import Invalid, Unavailable


class DatabaseServer(PrivateServer):
    """A private server that holds databases. ``url`` names the database ``kilonova``."""

    scheme: ClassVar[str]
    query: ClassVar[str]

    @property
    def url(self) -> str:
        return self.database_url("kilonova")

    def database_url(self, name: str) -> str:
        """The SQLAlchemy URL of the database ``name``, with the password: never for a log."""
        return f"{self.scheme}://{self._record.user}:{self.password}@{LOOPBACK}:{self.port}/{name}{self.query}"

    @abstractmethod
    def create_database(self, name: str) -> str:
        """Make an empty database and return its URL. Raises ``Unavailable`` if it exists or the server is gone."""

    def ensure_database(self, name: str) -> str:
        """Make the database unless it is there, and return its URL."""
        try:
            return self.create_database(name)
        except Unavailable as error:
            if "exists" not in error.message:
                raise
            return self.database_url(name)

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """Remove a database with all that is in it; one that does not exist is no error."""

    @property
    def _is_root(self) -> bool:
        return os.geteuid() == 0

    def _checked(self, name: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            raise Invalid(f"{name!r} cannot name a database: use up to 63 of a-z, 0-9 and _, a letter first")
        return name

    def _discard(self, data: Path) -> None:
        """Remove what an interrupted initialisation left."""
        if data.exists():
            shutil.rmtree(data)
