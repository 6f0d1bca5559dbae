"""What takes seconds to make and is the same every time, made once per process: tests get copies, or the same answer.

An MLflow store with its tables, the verdicts of Great Expectations, leakage proofs, the plots of trainings, the texts
of SQLAlchemy's statements, and Dagster's storage in memory. Databases of ours are in `conftest`.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock
from weakref import WeakKeyDictionary

from edupulse_pipelines.schema.expectations import NUMBER_SUFFIX

if TYPE_CHECKING:
    import pandas as pd
    import pytest
    import sqlalchemy as sa
    from dagster import DagsterInstance

    from edupulse_pipelines.ingest.validation import Expectations
    from edupulse_pipelines.risk.judging.leakage import LeakageProof
    from edupulse_pipelines.settings import Settings, TenantSettings

Verdicts = dict[str, list[tuple[str, list[int]]]]
Judge = Callable[..., Verdicts]


def put_mlflow_store(path: Path) -> str:
    """Put an MLflow store with its tables and without any run at `path`; returns its tracking URI.

    MLflow makes its tables by running all its migrations, which takes two seconds of the processor.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_mlflow_template(), path)
    return f"sqlite:///{path}"


@lru_cache
def _mlflow_template() -> Path:
    from edupulse_pipelines.risk.book.registry import Registry

    folder = Path(tempfile.mkdtemp(prefix="edupulse-mlflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "mlflow.db"
    # MLflow writes its URI into the environment, where settings of the test that comes first would find it.
    with mock.patch.dict(os.environ):
        assert Registry(f"sqlite:///{path}").find_run("nobody", {"asked": "once"}) is None
    from mlflow.store.db import utils

    # Which revision is the newest, MLflow finds by reading fifty modules of migrations, twice for each store it opens.
    utils._get_latest_schema_revision = lru_cache(utils._get_latest_schema_revision)
    return path


class CompiledStatements:
    """What SQLAlchemy keeps of the statements that it has made text of, for all engines of a kind of database.

    Each engine has a cache of its own; nearly every test has an engine of its own, and so has every event that Dagster
    stores in SQLite. A kind is what the text of a statement and the reading of its result depend on.
    """

    _known: ClassVar[dict[tuple[object, ...], Any]] = {}

    def __init__(self, dialect: sa.Dialect) -> None:
        self._kind = (
            type(dialect),
            dialect.server_version_info,
            *(
                getattr(getattr(dialect, f"_json_{name}", None), "__code__", None)
                for name in ("serializer", "deserializer")
            ),
        )

    def get(self, key: tuple[object, ...]) -> Any:
        """The statement that is known by this key, of which the first part is the engine's own dialect."""
        return self._known.get((self._kind, *key[1:]))

    def __setitem__(self, key: tuple[object, ...], compiled: Any) -> None:
        self._known[(self._kind, *key[1:])] = compiled

    @classmethod
    def share(cls) -> None:
        """Let every engine of this process use them from now on."""
        import sqlalchemy as sa

        if not sa.event.contains(sa.Engine, "engine_connect", cls._use):
            sa.event.listen(sa.Engine, "engine_connect", cls._use)

    @classmethod
    def _use(cls, connection: sa.Connection) -> None:
        connection.execution_options(compiled_cache=cls(connection.dialect))


def remembering(judge: Judge) -> Judge:
    """`Expectations.judge`, asked once for each suite and distinct value: a call takes 0.2 s however small the frame.

    Tests land the same few values on two databases and many times over. Each expectation is about a value of one
    column and no other, so what Great Expectations said in this process of a value holds wherever the value comes
    again, and only columns with a value that it has not seen are judged. An error is not remembered. Several
    expectations with one reason are one entry here.
    """
    by_suite: WeakKeyDictionary[Expectations, dict[tuple[str, object, object], set[str]]] = WeakKeyDictionary()

    def judged(expectations: Expectations, frame: pd.DataFrame) -> Verdicts:
        known = by_suite.setdefault(expectations, {})
        fields = {name: _fields(frame, name) for name in frame if not name.endswith(NUMBER_SUFFIX)}
        new = [name for name, column in fields.items() if any(field not in known for field in column)]
        if new:
            asked = [name for name in frame if name.removesuffix(NUMBER_SUFFIX) in new]
            by_column = judge(expectations, frame, asked)
            for name in new:
                found = [(code, set(positions)) for code, positions in by_column.get(name, ())]
                for position, field in enumerate(fields[name]):
                    known[field] = {code for code, positions in found if position in positions}
        verdicts: Verdicts = {}
        for code, (_, of_column) in expectations.expectations_by_reason.items():
            name = of_column.removesuffix(NUMBER_SUFFIX)
            positions = [position for position, field in enumerate(fields[name]) if code in known[field]]
            if positions:
                verdicts.setdefault(name, []).append((code, positions))
        return verdicts

    return judged


def _fields(frame: pd.DataFrame, name: str) -> list[tuple[str, object, object]]:
    """By row the column's name, its value, and its value as a number where the frame has it; None for none."""
    values = frame[name].tolist()
    number = name + NUMBER_SUFFIX
    numbers = frame[number].tolist() if number in frame else [None] * len(values)
    return [
        (name, None if _is_missing(value) else value, None if _is_missing(as_number) else as_number)
        for value, as_number in zip(values, numbers, strict=True)
    ]


def _is_missing(value: object) -> bool:
    """Whether it is None or not a number."""
    return value is None or value != value


def remembering_proofs(prove: Callable[..., LeakageProof]) -> Callable[..., LeakageProof]:
    """`prove_no_leakage`, computed once for equal records, weeks, functions and model: a third of a small training.

    Functions that were made inside another one (those of a test among them) are compared by their code and by the
    values that they hold, others by name. An error is not remembered.
    """
    known: dict[bytes, LeakageProof] = {}

    def proven(*arguments: object, **options: object) -> LeakageProof:
        asked = _digest(arguments, options)
        if asked not in known:
            known[asked] = prove(*arguments, **options)
        return known[asked]

    return proven


def remembering_plots(draw: Callable[..., dict[str, bytes]]) -> Callable[..., dict[str, bytes]]:
    """`training_figures`, drawn once for the same model, figures and settings, which takes two seconds.

    The tenant's name, which each test has of its own, is not compared: the titles name the tenant that came first.
    """
    known: dict[bytes, dict[str, bytes]] = {}

    def drawn(tenant: TenantSettings, *arguments: object) -> dict[str, bytes]:
        asked = _digest(tenant.model_copy(update={"name": ""}), *arguments)
        if asked not in known:
            known[asked] = draw(tenant, *arguments)
        return dict(known[asked])

    return drawn


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """No pictures with a run's steps and trainings: half a second each, and they have tests of their own."""
    patch.setattr("edupulse_pipelines.orchestration.charts._markdown", lambda _figure, title: title)
    patch.setattr("edupulse_pipelines.risk.health.health_plots", lambda _series: {})
    patch.setattr("edupulse_pipelines.risk.telling.reports.training_figures", lambda *_arguments: {})


def _digest(*arguments: object) -> bytes:
    import cloudpickle

    return hashlib.sha256(cloudpickle.dumps(arguments)).digest()


class DagsterInMemory:
    """Stands in for `dagster_instance`: the runs and events of each Dagster home in memory, not in SQLite files.

    Dagster opens a file, and closes it, for every event; half of what a small run takes is that.
    """

    def __init__(self) -> None:
        self._by_home: dict[Path, DagsterInstance] = {}

    @contextmanager
    def __call__(self, settings: Settings) -> Iterator[DagsterInstance]:
        """The instance of the settings' home, with what earlier runs left in it."""
        from dagster import DagsterInstance

        home = settings.dagster_home
        if home not in self._by_home:
            home.mkdir(parents=True, exist_ok=True)
            self._by_home[home] = DagsterInstance.ephemeral(tempdir=str(home))
        yield self._by_home[home]

    def close(self) -> None:
        """Forget everything."""
        for instance in self._by_home.values():
            instance.dispose()
        self._by_home.clear()
