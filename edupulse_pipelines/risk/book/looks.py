"""Which models the gate has compared with a champion: each comparison is a look, and looks spend its chance of error.

Reads decisions and models; how much a look may spend is in `judging.promotion`.
"""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, promotion_decisions
from edupulse_pipelines.storage.work import Work


def challengers_of(connection: sa.Connection, work: Work, champion: str) -> dict[str, dt.date]:
    """The models that the gate has compared with a champion, and the week (Monday) through which each knew data.

    By these weeks looks at a champion are counted, not by the clock: history that is trained again decides as it did.
    """
    table, model = promotion_decisions.c, model_metadata.c
    same = sa.and_(model.tenant_id == table.tenant_id, model.model_version == table.model_version)
    rows = connection.execute(
        sa.select(table.model_version, model.data_through, table.numbers)
        .join(model_metadata, same)
        .where(
            table.tenant_id == work.tenant,
            table.kind == "gate",
            table.previous_version == champion,
            model.data_through.is_not(None),
        )
    )
    return {version: through for version, through, numbers in rows if numbers.get("champion_compared")}
