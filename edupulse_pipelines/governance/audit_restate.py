"""New accounts of what changes have written, after an erasure has emptied some of it.

The hash of a change's rows cannot be compared any more once one of them has been erased. So that the others stay
proven, the erasure puts on record, as a part of its own change, how many are left of each and their hash. Only for
changes whose rows were as recorded before: what somebody had edited does not become right by an erasure, which counts
such changes for whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from edupulse_pipelines.governance.audit_contents import Comparison, Key, compare_contents, on_record
from edupulse_pipelines.schema.tables import AUDITED, TABLES
from edupulse_pipelines.storage import changes


@dataclass(frozen=True)
class Recorded:
    """The rows of changes, by table, district and `change_id`, before anything is erased.

    tenant: the district that was looked at; None for all. fine: what is as it was recorded. wrong: what is not.
    """

    tenant: str | None
    fine: frozenset[tuple[str, Key]]
    wrong: frozenset[tuple[str, Key]]


def recorded(connection: Connection, tenant: str | None) -> Recorded:
    """What of all that is on record of a district (None: of all) is as it was recorded, and what is not."""
    fine: set[tuple[str, Key]] = set()
    wrong: set[tuple[str, Key]] = set()
    for one in _compared(connection, AUDITED, tenant):
        if one.verdict != "counted":
            (fine if one.verdict == "as recorded" else wrong).add((one.table, one.key))
    return Recorded(tenant, frozenset(fine), frozenset(wrong))


def restate(connection: Connection, before: Recorded) -> None:
    """Account anew for what is left of changes that were as recorded and are not whole any more."""
    for one in _compared(connection, {table for table, _ in before.fine}, before.tenant):
        rows = one.stored.rows - one.stored.erased
        lost = one.verdict in ("counted", "unproven") and (one.table, one.key) in before.fine
        if lost and one.stored.content and rows:
            columns = one.columns or len(TABLES[one.table].audited_columns)
            tenant, change_id = one.key
            facts = {str(change_id): rows}
            changes.note(
                connection,
                one.table,
                tenant,
                "restate",
                rows,
                columns=columns,
                content=one.stored.content,
                replaced=facts,
            )


def _compared(connection: Connection, tables: Iterable[str], tenant: str | None) -> list[Comparison]:
    record, wanted = on_record(connection), set(tables)
    of_tables = (compare_contents(connection, table, record, tenant=tenant) for table in AUDITED if table in wanted)
    return [one for of_table in of_tables for one in of_table]
