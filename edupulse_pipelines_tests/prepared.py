"""What takes seconds to make and is the same every time, made once per process: tests get copies, or the same answer.

An MLflow store with its tables, the verdicts of Great Expectations, leakage proofs, the plots of trainings, and
Dagster's storage in memory. Databases of ours are in `conftest`.
"""

from __future__ import annotations

import atexit
import copy
import hashlib
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import pandas as pd
    from dagster import DagsterInstance

    from edupulse_pipelines.ingest.validation import Expectations
    from edupulse_pipelines.risk.judging.leakage import LeakageProof
    from edupulse_pipelines.settings import Settings, TenantSettings

Verdicts = dict[str, list[tuple[str, list[int]]]]
Judge = Callable[["Expectations", "pd.DataFrame"], Verdicts]


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
    assert Registry(f"sqlite:///{path}").find_run("nobody", {"asked": "once"}) is None
    return path


def remembering(judge: Judge) -> Judge:
    """`Expectations.judge`, asked once for each suite and distinct frame: a call takes 0.2 s however small the frame.

    Tests land the same few rows on two databases and several times over. What is remembered is what Great Expectations
    said in this process of equal values in equal columns; an error is not remembered.
    """
    by_suite: WeakKeyDictionary[Expectations, dict[bytes, Verdicts]] = WeakKeyDictionary()

    def judged(expectations: Expectations, frame: pd.DataFrame) -> Verdicts:
        known = by_suite.setdefault(expectations, {})
        values = pickle.dumps([(name, str(frame[name].dtype), frame[name].tolist()) for name in frame])
        if values not in known:
            known[values] = judge(expectations, frame)
        return copy.deepcopy(known[values])

    return judged


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
