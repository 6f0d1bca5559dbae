"""What the roles of PostgreSQL are called: a prefix, what the role is for, and its district where it has one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

LONGEST_NAME = 63
"""Bytes; PostgreSQL cuts a longer name without an error, so that two of them could become one."""


@dataclass(frozen=True)
class RoleNames:
    """The names of all roles of an installation with this prefix and these districts."""

    prefix: str
    tenants: tuple[str, ...]

    @property
    def owner(self) -> str:
        """Owns every table and function; nobody logs in as it."""
        return fitting(f"{self.prefix}_owner")

    @property
    def loader(self) -> str:
        """The pipelines: reads and writes the rows of the district that a transaction is for, owns nothing."""
        return fitting(f"{self.prefix}_loader")

    @property
    def keeper(self) -> str:
        """A person who may become the owner (SET ROLE), to upgrade and maintain the database."""
        return fitting(f"{self.prefix}_keeper")

    @property
    def backup(self) -> str:
        """Reads everything, to copy it; changes nothing."""
        return fitting(f"{self.prefix}_backup")

    def analyst(self, tenant: str) -> str:
        """Reads the district's rows."""
        return fitting(f"{self.prefix}_analyst_{tenant}")

    def auditor(self, tenant: str) -> str:
        """Reads the record of changes of the district's rows."""
        return fitting(f"{self.prefix}_auditor_{tenant}")

    @property
    def of_districts(self) -> tuple[str, ...]:
        """The analysts, then the auditors."""
        return tuple(of(tenant) for of in (self.analyst, self.auditor) for tenant in self.tenants)

    @property
    def that_log_in(self) -> tuple[str, ...]:
        """Every role but the owner."""
        return (self.loader, self.keeper, self.backup, *self.of_districts)


def fitting(name: str) -> str:
    """The name, or where it is too long for PostgreSQL its beginning and a hash of all of it."""
    encoded = name.encode()
    if len(encoded) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return f"{encoded[: LONGEST_NAME - 13].decode(errors='ignore')}_{digest}"
