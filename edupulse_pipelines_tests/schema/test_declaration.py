"""A declaration that contradicts itself is refused when it is made."""

from __future__ import annotations

import pytest

from edupulse_pipelines.schema.declaration import Column, Record, Table
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES


@pytest.mark.parametrize("refers_to", [None, "students"])
def test_records_need_a_date_that_they_count_from(refers_to) -> None:
    with pytest.raises(ValueError, match="need a date that they count from"):
        Record(refers_to=refers_to)
    Record(refers_to=refers_to, event_date="date")


def test_the_dates_that_records_count_from_are_columns() -> None:
    for table in (TABLES[name] for name in RECORD_TABLES):
        assert table.record is not None
        for date in (table.record.event_date, table.record.first_delivery):
            assert date is None or table.column(date).type == "date"


@pytest.mark.parametrize(("columns", "owned"), [(("tenant_id",), False), (("id",), True)])
def test_a_table_of_districts_has_their_name_in_each_row(columns, owned) -> None:
    declared = tuple(Column(name=name, type="text", comment="-") for name in columns)
    with pytest.raises(ValueError, match="tenant_owned"):
        Table(name="mine", comment="-", columns=declared, primary_key=columns, tenant_owned=owned)
    Table(name="mine", comment="-", columns=declared, primary_key=columns, tenant_owned=not owned)
