"""Whether a role may read the server's write-ahead log: connections for replication, which have rules of their own.

Copies of the server and its WAL come by them (`operations.backup`). Nothing is read here, and no transaction begins.
"""

from __future__ import annotations

from edupulse_pipelines.errors import DatabaseUnusable
from edupulse_pipelines.settings import conninfo_of, password_of

_SECONDS = 10


def demand_replication(url: str, named: str) -> None:
    """Connect for replication, and leave again; DatabaseUnusable in the server's words where that is refused.

    `pg_hba.conf` has lines for it beside those for databases. `named`: what errors call the URL.
    """
    import psycopg2
    from psycopg2.extras import PhysicalReplicationConnection

    secret = password_of(url).get("PGPASSWORD")
    given = {"connect_timeout": _SECONDS, **({"password": secret} if secret else {})}
    try:
        conninfo = conninfo_of(url, named, with_database=False)
        psycopg2.connect(conninfo, connection_factory=PhysicalReplicationConnection, **given).close()
    except psycopg2.Error as error:
        said = str(error).strip().splitlines() or ["no reason given"]
        raise DatabaseUnusable(said[-1]) from None
