"""One writer: rows of `model_metadata` are written in `records` alone, and who is champion is changed in `champion`."""

from __future__ import annotations

import ast
import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

import edupulse_pipelines
from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.risk.book.records import (
    ModelRecord,
    model_record,
    model_records,
    record_of_document,
    trained_models,
    write_marks,
    write_record,
)
from edupulse_pipelines.risk.book.registry import LoggedRun
from edupulse_pipelines_tests.risk.district import tenant_settings, week, work_of

PACKAGE = Path(edupulse_pipelines.__file__).parent
RECORD = ModelRecord(
    model_version="2025-01-06-aaaaaaaa",
    model_type="logistic",
    trained_at=dt.datetime(2025, 1, 7, 8, 30, tzinfo=dt.UTC),
    metrics={"auc_roc": 0.75},
    hyperparameters={"seed": 7, "intercept": -1.2345678901234567},
    data_through=week(18),
    data_hash="d" * 64,
    settings_hash="5" * 64,
    mlflow=LoggedRun("run", "3", "edupulse-north", "m-1", "a" * 64, "file:///somewhere"),
)


def calls(path: Path, name: str) -> list[ast.Call]:
    """The calls of a function or method of this name in a file."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and name in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]


def knows_the_table(path: Path) -> bool:
    """Whether a file's code names the table `model_metadata`; its texts may."""
    return any(
        "model_metadata" in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_nobody_else_writes_the_rows() -> None:
    know = {path for path in PACKAGE.rglob("*.py") if knows_the_table(path)}
    write = {path for path in know if any(calls(path, verb) for verb in ("insert", "update", "delete"))}
    assert write == {PACKAGE / "risk/book/records.py"}


def test_nobody_else_changes_the_champion() -> None:
    book = "risk/book/"
    for name, allowed in (
        ("write_marks", {f"{book}champion.py"}),
        ("set_champion", {f"{book}champion.py", f"{book}mirror.py", "risk/training.py"}),
    ):
        found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if calls(path, name)}
        # `mirror` and `training` put a lost alias back to the row that is champion already.
        assert found == allowed, name


def test_a_record_comes_back_as_it_was_written(engine: sa.Engine) -> None:
    work = work_of(engine, tenant_settings())
    other = replace(RECORD, model_version="by hand", data_through=None, data_hash=None, settings_hash=None, mlflow=None)
    gone = replace(RECORD, model_version="gone", set_aside=True)
    with work.writing() as connection:
        for record in (RECORD, other, gone):
            write_record(connection, work, record)
        assert model_records(connection, work) == [other, RECORD, gone]
        assert trained_models(connection, work) == [RECORD]
        write_marks(connection, work, RECORD.model_version, promoted=True, is_active=True)
        write_record(connection, work, replace(RECORD, metrics={}))
        again = model_record(model_records(connection, work), RECORD.model_version, work.tenant)
        assert again == replace(RECORD, metrics={}, promoted=True, is_active=True), "a row keeps its marks"
        with pytest.raises(EduPulseError, match="has no model 2019"):
            model_record([again], "2019", work.tenant)
    with work.reading() as connection:
        assert model_records(connection, work_of(engine, tenant_settings())) == []


def test_a_document_gives_the_record_back() -> None:
    promoted = replace(RECORD, promoted=True)
    assert RECORD.mlflow is not None
    assert record_of_document(RECORD.model_version, promoted.as_document(), RECORD.mlflow) == promoted
    with pytest.raises(KeyError):
        record_of_document("x", {"model_type": "logistic"}, RECORD.mlflow)
