"""Do MLflow and `model_metadata` tell the same story, and how to mend it when they do not.

Each difference is a sentence with the mending it proposes; `sync` carries the mendings out. Neither trains nor scores
a model, and never deletes one: a registered version that nothing is known about is left alone, and a row whose model
is gone for good is set aside (kept for its predictions, never chosen again).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edupulse_pipelines.errors import ModelArtifactError, PermanentError
from edupulse_pipelines.risk.book.champion import make_champion, mark_promoted, remove_champion
from edupulse_pipelines.risk.book.records import (
    ModelRecord,
    model_record,
    model_records,
    record_of_document,
    write_record,
)
from edupulse_pipelines.risk.book.registry import RECORD_DOCUMENT, LoggedRun, RegisteredVersion, Registry
from edupulse_pipelines.risk.judging.evaluation import flat_metrics
from edupulse_pipelines.risk.statuses import RULE, TRAINED
from edupulse_pipelines.storage.work import Work

Source = Literal["table", "registry"]
Kind = Literal[
    "experiment_deleted",
    "registered_model_deleted",
    "champion",
    "row_without_version",
    "version_without_row",
    "version_moved",
    "facts_differ",
    "artifact_unusable",
]


@dataclass(frozen=True)
class Difference:
    """One thing that MLflow and `model_metadata` disagree about."""

    kind: Kind
    sentence: str
    """The difference, in a sentence."""
    mending: str | None
    """What `sync` would do about it; None when only a person can."""
    model_version: str | None = None
    registry_version: str | None = None
    mended: bool | None = None
    """Whether it was mended; None when that was not tried."""
    outcome: str | None = None
    """What became of the attempt."""


def differences(
    work: Work,
    registry: Registry,
    *,
    source: Source = "table",
    artifacts: Literal["champion", "all"] = "champion",
) -> list[Difference]:
    """What MLflow and `model_metadata` disagree about; empty when they agree.

    Compared: whether the experiment, and the registered model that rows name, are there; the champion alias with the
    active row, the model versions both ways, each row's registered version and
    hashes with the version's, and the files of the champion (or of `all` models) with the hash they were logged with.
    `source` is the side that the proposed mendings take as the truth where both know something. RegistryUnavailable
    when MLflow does not answer.
    """
    rows = _rows(work)
    by_name: dict[str, list[RegisteredVersion]] = {}
    for version in registry.versions(work.tenant):
        by_name.setdefault(version.name, []).append(version)
    active = next((row for row in rows if row.is_active), None)
    disagreements = _deleted_as_a_whole(work, registry, rows)
    alias = registry.champion(work.tenant)
    # Of a champion whose row was lost the alias is all that is left.
    lost = active is None and alias in by_name and alias not in {row.model_version for row in rows}
    if (champion := _champion_difference(active, alias, "registry" if lost else source)) is not None:
        disagreements.append(champion)
    # A rule that scored before a training came to register it is no model that MLflow has lost.
    mirrored = [row for row in rows if not row.set_aside and (row.mlflow is not None or row.model_type != RULE)]
    disagreements += [_row_without_version(row, source) for row in mirrored if row.model_version not in by_name]
    recorded = {row.model_version for row in rows}
    disagreements += [_version_without_row(name, by_name[name][-1]) for name in sorted(by_name) if name not in recorded]
    for row in mirrored:
        if row.model_version not in by_name:
            continue
        versions = by_name[row.model_version]
        same = next((version for version in versions if version.registry_version == row.registry_version), None)
        if same is None:
            disagreements.append(
                Difference(
                    "version_moved",
                    f"Model {row.model_version} is version {versions[-1].registry_version} in MLflow, but version "
                    f"{row.registry_version} in model_metadata.",
                    f"record version {versions[-1].registry_version} in model_metadata",
                    row.model_version,
                    versions[-1].registry_version,
                )
            )
            continue
        if differing := _differing_facts(row, same):
            mending = f"set {', '.join(differing)} in MLflow to what model_metadata holds"
            if source == "registry":
                mending = "write the row again from the record of the run"
            disagreements.append(
                Difference(
                    "facts_differ",
                    f"Model {row.model_version}: {', '.join(differing)} in MLflow is not what model_metadata holds.",
                    mending,
                    row.model_version,
                    same.registry_version,
                )
            )
        if (artifacts == "all" or row.is_active) and (why := _unusable(work, registry, row)) is not None:
            disagreements.append(
                Difference(
                    "artifact_unusable",
                    why,
                    f"set the row aside{', so that no model is champion' if row.is_active else ''}",
                    row.model_version,
                    same.registry_version,
                )
            )
    return disagreements


def sync(work: Work, registry: Registry, *, apply: bool = False, source: Source = "table") -> list[Difference]:
    """The differences with their proposed mendings; with `apply` mended, and what became of each.

    Files of all models are checked. A deleted experiment and a deleted registered model are restored first, whatever
    the `source`. Versions and rows are mended next and the champion last, because a champion may
    have come back or gone by then. With `source="table"`, rows whose version is gone are registered again from their
    files, and the alias follows the active row; with `"registry"`, such rows are set aside, and the active row follows
    the alias. A registered version without a row gets its row back from the record of its run either way. Running it
    again finds nothing but what only a person can mend.
    """
    disagreements = differences(work, registry, source=source, artifacts="all")
    if not apply:
        return disagreements
    done = [_mend(work, registry, difference, source) for difference in disagreements if difference.kind != "champion"]
    rows = _rows(work)
    active = next((row for row in rows if row.is_active), None)
    alias = registry.champion(work.tenant)
    restored = {
        difference.model_version
        for difference in done
        if difference.kind == "version_without_row" and difference.mended
    }
    if active is None and alias in restored:
        source = "registry"  # the row that said so was lost: the alias is all that is left
    champion = _champion_difference(active, alias, source)
    before = next((difference for difference in disagreements if difference.kind == "champion"), None)
    if champion is not None:
        done.append(_attempt(champion, lambda: _mend_champion(work, registry, active, source)))
    elif before is not None:
        done.append(dataclasses.replace(before, mended=True, outcome="they agree after the other mendings"))
    return done


def _deleted_as_a_whole(work: Work, registry: Registry, rows: list[ModelRecord]) -> list[Difference]:
    """The experiment and the registered model, where somebody has deleted them in MLflow."""
    deleted = []
    if registry.has_deleted_experiment(work.tenant):
        deleted.append(
            Difference(
                "experiment_deleted",
                f"The experiment {registry.experiment_name(work.tenant)} is deleted in MLflow: no training can be "
                "logged.",
                "restore the experiment with its runs",
            )
        )
    if any(row.registry_version for row in rows if not row.set_aside) and not registry.has_registered_model(
        work.tenant
    ):
        deleted.append(
            Difference(
                "registered_model_deleted",
                f"The registered model {registry.model_name(work.tenant)} is deleted in MLflow, with all its versions.",
                "make it again, and register its versions again from their files",
            )
        )
    return deleted


def _champion_difference(active: ModelRecord | None, champion: str | None, source: Source) -> Difference | None:
    version = active.model_version if active else None
    if champion == version:
        return None
    if source == "table":
        mending = f"point the alias at {version}" if version else "take the alias away"
    else:
        mending = f"make {champion} the active model" if champion else "let no model be active"
    active_model = f"the active model in model_metadata is {version or 'not set'}"
    sentence = f"MLflow's champion is {champion or 'not set'}, but {active_model}."
    return Difference("champion", sentence, mending, version if source == "table" else champion)


def _row_without_version(row: ModelRecord, source: Source) -> Difference:
    mending = "set the row aside: the version was deleted in MLflow"
    if source == "table":
        mending = "register it again from its files; if they are gone, set the row aside"
    sentence = f"Model {row.model_version} is in model_metadata, but not registered in MLflow."
    return Difference("row_without_version", sentence, mending, row.model_version, row.registry_version)


def _version_without_row(name: str, version: RegisteredVersion) -> Difference:
    has_record = version.model_version is not None and version.run_id is not None
    mending = "write its row again from the record of its run" if has_record else None
    return Difference(
        "version_without_row",
        f"Model {name} is registered in MLflow, but not in model_metadata.",
        mending,
        version.model_version,
        version.registry_version,
    )


def _facts(row: ModelRecord) -> dict[str, str]:
    """What a row and the tags of its version both say, as tags say it; what the row does not know is left out."""
    facts = {
        "data_through": row.data_through.isoformat() if row.data_through else None,
        "data_hash": row.data_hash,
        "settings_hash": row.settings_hash,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _differing_facts(row: ModelRecord, version: RegisteredVersion) -> list[str]:
    return [name for name, value in _facts(row).items() if version.tags.get(name, value) != value]


def _unusable(work: Work, registry: Registry, row: ModelRecord) -> str | None:
    """Why the row's model cannot be used; None when it can."""
    try:
        registry.verify_model(work.tenant, row.model_version, row.registry_version, row.artifact_sha256)
    except ModelArtifactError as error:
        return str(error)
    return None


def _mend(work: Work, registry: Registry, difference: Difference, source: Source) -> Difference:
    if difference.kind == "experiment_deleted":
        return _attempt(difference, lambda: _restore_experiment(work, registry))
    if difference.kind == "registered_model_deleted":
        return _attempt(difference, lambda: _make_registered_model(work, registry))
    if difference.mending is None or difference.model_version is None:
        return dataclasses.replace(
            difference, mended=False, outcome="nothing is known about it: delete the version in MLflow, or leave it"
        )
    version = difference.model_version

    def mend() -> str:
        if difference.kind == "version_without_row" or (difference.kind == "facts_differ" and source == "registry"):
            assert difference.registry_version is not None
            return _restore_row(work, registry, version, difference.registry_version)
        row = model_record(_rows(work), version, work.tenant)
        if difference.kind == "facts_differ":
            assert difference.registry_version is not None
            registry.tag_version(work.tenant, difference.registry_version, _facts(row))
            return "the tags in MLflow are those of the row"
        if difference.kind == "version_moved":
            assert difference.registry_version is not None
            registry.verify_model(work.tenant, version, difference.registry_version)
            _write(work, dataclasses.replace(row, mlflow=registry.facts_of(work.tenant, difference.registry_version)))
            return f"model_metadata names version {difference.registry_version}"
        if difference.kind == "row_without_version" and source == "table":
            try:
                logged = _register_again(work, registry, row)
            except ModelArtifactError as error:
                _set_aside(work, registry, row, str(error))
                return f"{error} The row was set aside."
            _write(work, dataclasses.replace(row, mlflow=logged))
            return f"registered again as version {logged.registry_version}"
        _set_aside(work, registry, row, difference.sentence)
        return "the row was set aside"

    return _attempt(difference, mend)


def _restore_experiment(work: Work, registry: Registry) -> str:
    registry.restore_experiment(work.tenant)
    return "the experiment and its runs are back"


def _make_registered_model(work: Work, registry: Registry) -> str:
    registry.make_registered_model(work.tenant)
    return "the registered model is there again"


def _attempt(difference: Difference, mend: Callable[[], str]) -> Difference:
    try:
        return dataclasses.replace(difference, outcome=mend(), mended=True)
    except ModelArtifactError as error:
        return dataclasses.replace(difference, outcome=str(error), mended=False)
    except _CannotMend as error:
        return dataclasses.replace(difference, outcome=str(error), mended=False)


class _CannotMend(PermanentError):
    """A mending that turned out not to be possible; the message says why."""


def _mend_champion(work: Work, registry: Registry, active: ModelRecord | None, source: Source) -> str:
    if source == "table":
        if active is None:
            registry.remove_champion(work.tenant)
            return "no version has the alias any more"
        if active.registry_version is None or active.set_aside:
            raise _CannotMend(f"model {active.model_version} has no registered version")
        registry.verify_model(work.tenant, active.model_version, active.registry_version, active.artifact_sha256)
        registry.set_champion(work.tenant, active.registry_version)
        return f"the alias points at {active.model_version}"
    champion = registry.champion_version(work.tenant)
    reason = "The champion alias in MLflow was taken as the truth."
    if champion is None:
        remove_champion(work, registry, kind="sync", reason=reason)
        return "no model is active any more"
    row = next((row for row in _rows(work) if row.model_version == champion.model_version), None)
    if row is None or row.set_aside:
        raise _CannotMend(f"{champion.name} has no row in model_metadata that could be active")
    make_champion(work, registry, row.model_version, kind="sync", reason=reason)
    return f"{row.model_version} is the active model"


def _restore_row(work: Work, registry: Registry, model_version: str, registry_version: str) -> str:
    """Write a model's row from what its run recorded; never as the active one."""
    logged = registry.facts_of(work.tenant, registry_version)
    registry.verify_model(work.tenant, model_version, registry_version)
    text = registry.run_document(logged.run_id, RECORD_DOCUMENT) if logged.run_id else None
    if text is None:
        raise _CannotMend(f"its run has no {RECORD_DOCUMENT}: train again, or delete the version in MLflow")
    try:
        kept = json.loads(text)
        if (kept["tenant"], kept["model_version"]) != (work.tenant, model_version):
            raise _CannotMend(f"{RECORD_DOCUMENT} of its run is another model's")
        record = record_of_document(model_version, kept, logged)
    except (ValueError, KeyError, TypeError) as error:
        raise _CannotMend(f"{RECORD_DOCUMENT} of its run cannot be read ({type(error).__name__})") from None
    tags = next(
        version.tags for version in registry.versions(work.tenant) if version.registry_version == registry_version
    )
    # The tag says what was decided after the run was recorded.
    promoted = tags["promoted"] == "true" if "promoted" in tags else record.promoted
    with work.writing() as connection:
        write_record(connection, work, record)
        mark_promoted(connection, work, model_version, promoted=promoted)
    return "its row was written again from the record of its run"


def _register_again(work: Work, registry: Registry, row: ModelRecord) -> LoggedRun:
    facts = _facts(row)
    params = {"model_type": row.model_type, "data_through": facts.get("data_through")}
    return registry.restore_version(
        work.tenant,
        row.model_version,
        row.mlflow or LoggedRun(),
        params={name: value for name, value in params.items() if value is not None},
        metrics=flat_metrics(row.metrics),
        tags={
            "tenant": work.tenant,
            "status": TRAINED,
            "model_version": row.model_version,
            **facts,
            "promoted": str(row.promoted).lower(),
        },
        record=row.as_document(),
    )


def _set_aside(work: Work, registry: Registry, row: ModelRecord, reason: str) -> None:
    """Mark the row's model as gone: not champion, not promoted, no version to load."""
    if row.is_active:
        remove_champion(work, registry, kind="sync", reason=reason)
    mlflow = dataclasses.replace(row.mlflow or LoggedRun(), registry_version=None)
    with work.writing() as connection:
        write_record(connection, work, dataclasses.replace(row, mlflow=mlflow, set_aside=True))
        mark_promoted(connection, work, row.model_version, promoted=False)


def _write(work: Work, row: ModelRecord) -> None:
    with work.writing() as connection:
        write_record(connection, work, row)


def _rows(work: Work) -> list[ModelRecord]:
    with work.reading() as connection:
        return model_records(connection, work)
