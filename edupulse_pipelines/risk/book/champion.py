"""Who is champion: changed here and nowhere else, in `model_metadata`, in MLflow's alias and in the decisions at once.

Always true afterwards: at most one model is active, it is the newest promoted one, and the alias points at it.
Whether a model deserves it is not asked here; `promotion` asks, or a person says so with a reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, ModelArtifactError, PermanentError
from edupulse_pipelines.risk.book.decisions import champion_before, record_decision
from edupulse_pipelines.risk.book.learned_label import learned_another_label
from edupulse_pipelines.risk.book.records import ModelRecord, model_record, model_records, write_marks
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.book.rules import is_rule_of
from edupulse_pipelines.risk.statuses import CHAMPION, RULE, TRANSFERRED, Standing
from edupulse_pipelines.schema.tables import DecisionKind
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True)
class ChampionChange:
    """What a change of the champion came to."""

    model_version: str | None
    """The champion now; None when there is none any more."""
    previous_version: str | None
    """The champion before; None when there was none."""
    withdrawn: tuple[str, ...] = ()
    """Models that had been promoted, know newer data than the champion, and do not score any more."""


@dataclass(frozen=True)
class Scorer:
    """What scores a week, and by what right."""

    record: ModelRecord
    standing: Standing


def scoring_model(records: Sequence[ModelRecord], week: dt.date) -> ModelRecord | None:
    """The champion of a week (Monday): the newest promoted model whose data end by then. None when there is none.

    `records` as `trained_models` or `scorers` gives them.
    """
    able = [record for record in records if record.promoted and _knows_no_more_than(record, week)]
    return able[-1] if able else None


def scorers_of(
    records: Sequence[ModelRecord], week: dt.date, tenant: TenantSettings, scored_by: Collection[str] = ()
) -> list[Scorer]:
    """What may score a week (Monday), the best first: its champion, a transferred model, the rule.

    `records` as `scorers` gives them. A transferred model and a rule are those of the tenant's label and rule now. Only
    a week that a rule of earlier settings has scored (`scored_by`: the versions with predictions of it) keeps that one:
    what was said then was said by the rule of then.
    """
    able = [record for record in records if _knows_no_more_than(record, week)]
    found = []
    champion = scoring_model(able, week)
    # A model of another label goes on until the next training. A rule need not: the present one is there at once.
    if champion is not None and (champion.model_type != RULE or is_rule_of(champion, tenant)):
        found.append(Scorer(champion, CHAMPION))
    transferred = [
        record
        for record in able
        if record.model_type == TRANSFERRED and not record.promoted and not learned_another_label(record, tenant)
    ]
    found += [Scorer(record, TRANSFERRED) for record in transferred[-1:]]
    rules = [record for record in able if record.model_type == RULE]
    present = [record for record in rules if is_rule_of(record, tenant)]
    before = [record for record in rules if record.model_version in scored_by]
    keeps = before and not any(record in present for record in before)
    found += [Scorer(record, RULE) for record in (before if keeps else present)[-1:]]
    return [one for number, one in enumerate(found) if one.record not in [other.record for other in found[:number]]]


def _knows_no_more_than(record: ModelRecord, week: dt.date) -> bool:
    """Whether a model's data end by the week; the rule has none before it learned anything."""
    return record.data_through is None or record.data_through <= week


def marks(connection: sa.Connection, work: Work, *, without: str, lock: bool = False) -> dict[str, tuple[bool, bool]]:
    """By model version, but for one: whether it is promoted, and active.

    `lock` keeps others from changing it until the transaction ends.
    """
    return {
        record.model_version: (record.promoted, record.is_active)
        for record in model_records(connection, work, lock=lock)
        if record.model_version != without
    }


def record_gate_decision(
    connection: sa.Connection,
    work: Work,
    registry: Registry,
    record: ModelRecord,
    *,
    becomes_champion: bool,
    previous_version: str | None,
    reason: str,
    numbers: Mapping[str, Any],
) -> None:
    """Record the gate's decision on a model that was just written, and its marks; as champion, give it the alias.

    `record.promoted` is the decision. `becomes_champion`: a promoted model that knows as much as the present champion
    takes its place. To be called last in the transaction: the alias must never name what is not recorded.
    """
    if becomes_champion:
        for other in model_records(connection, work):
            if other.is_active and other.model_version != record.model_version:
                write_marks(connection, work, other.model_version, promoted=other.promoted, is_active=False)
    write_marks(connection, work, record.model_version, promoted=record.promoted, is_active=becomes_champion)
    record_decision(
        connection,
        work,
        record.model_version,
        kind="gate",
        promoted=record.promoted,
        previous_version=previous_version,
        reason=reason,
        numbers=numbers,
    )
    if becomes_champion and record.registry_version is not None:
        registry.set_champion(work.tenant, record.registry_version)


def mark_promoted(connection: sa.Connection, work: Work, model_version: str, *, promoted: bool) -> None:
    """Mark a model whose row is mended as promoted, or not; whether it is active stays as it is."""
    record = model_record(model_records(connection, work), model_version, work.tenant)
    write_marks(connection, work, model_version, promoted=promoted, is_active=record.is_active)


def make_champion(
    work: Work,
    registry: Registry,
    version: str,
    *,
    kind: DecisionKind,
    reason: str,
    numbers: Mapping[str, Any] | None = None,
) -> ChampionChange:
    """Make a model of `model_metadata` the champion, and record the decision with its reason (and `numbers`).

    Each week is scored by the newest promoted model that knew enough by then. So the champion is marked as promoted,
    and promoted models that come after it (by data-through week, then by when they were trained) lose the mark: an
    older model can only be champion if the newer ones do not score. The table changes in one transaction, which
    ends by moving the alias: when MLflow fails, nothing has changed. ModelArtifactError when the model's files are
    gone or changed; EduPulseError when there is no such model or no reason.
    """
    _demand(reason)
    with work.reading() as connection:
        record = model_record(model_records(connection, work), version, work.tenant)
    registry_version = _registered_version(record)
    registry.verify_model(work.tenant, version, registry_version, record.artifact_sha256)
    with work.writing() as connection:
        records = model_records(connection, work, lock=True)
        record = model_record(records, version, work.tenant)
        later = records[records.index(record) + 1 :]
        withdrawn = [other for other in later if other.promoted]
        previous = next((other.model_version for other in records if other.is_active), None)
        for other in records:
            if other is not record and (other.is_active or other in withdrawn):
                promoted = other.promoted and other not in withdrawn
                write_marks(connection, work, other.model_version, promoted=promoted, is_active=False)
        write_marks(connection, work, version, promoted=True, is_active=True)
        record_decision(
            connection,
            work,
            version,
            kind=kind,
            promoted=True,
            previous_version=previous,
            reason=reason.strip(),
            numbers=numbers,
        )
        for other in withdrawn:
            _tag(work, registry, other, promoted=False)
        _tag(work, registry, record, promoted=True)
        registry.set_champion(work.tenant, registry_version)
    return ChampionChange(version, previous, tuple(other.model_version for other in withdrawn))


def remove_champion(work: Work, registry: Registry, *, kind: DecisionKind, reason: str) -> ChampionChange:
    """Let no model be champion: the rule scores from now on, and the alias is taken away. Recorded like a promotion.

    Every promoted model loses its mark: otherwise the one before the champion would score, and nobody decided that.
    """
    _demand(reason)
    with work.writing() as connection:
        records = model_records(connection, work, lock=True)
        champion = next((record for record in records if record.is_active), None)
        withdrawn = [record for record in records if record.is_active or record.promoted] if champion else []
        for record in withdrawn:
            write_marks(connection, work, record.model_version, promoted=False, is_active=False)
        if champion is not None:
            version = champion.model_version
            record_decision(
                connection, work, version, kind=kind, promoted=False, previous_version=version, reason=reason.strip()
            )
        for record in withdrawn:
            _tag(work, registry, record, promoted=False)
        registry.remove_champion(work.tenant)
    others = tuple(record.model_version for record in withdrawn if record is not champion)
    return ChampionChange(None, champion.model_version if champion else None, others)


def rollback(work: Work, registry: Registry, *, reason: str) -> ChampionChange:
    """Make the champion before this one champion again.

    It is the one that the newest decision for the present champion names; where none was recorded, the newest promoted
    model that comes before it. A second rollback goes back one more. EduPulseError when there is none.
    """
    _demand(reason)
    with work.reading() as connection:
        records = model_records(connection, work)
        active = next((record for record in records if record.is_active), None)
        if active is None:
            raise PermanentError(f"{work.tenant} has no champion; `edupulse model promote` makes one.")
        wanted = champion_before(connection, work, active.model_version)
    if wanted is None:
        earlier = records[: records.index(active)]
        promoted = [record for record in earlier if record.promoted and record.registry_version]
        wanted = promoted[-1].model_version if promoted else None
    if wanted is None:
        raise PermanentError(
            f"There is no champion before {active.model_version} to go back to; `edupulse model promote VERSION` "
            "names another model."
        )
    return make_champion(work, registry, wanted, kind="rollback", reason=reason)


def _registered_version(record: ModelRecord) -> str:
    if not record.registry_version:
        raise ModelArtifactError(
            f"Model {record.model_version} is not in MLflow any more, so it cannot be champion. Train again."
        )
    return record.registry_version


def _demand(reason: str) -> None:
    if not reason.strip():
        raise ConfigurationError("A change of the champion needs a reason.")


def _tag(work: Work, registry: Registry, record: ModelRecord, *, promoted: bool) -> None:
    """Say the mark in MLflow, too, where the version is still registered."""
    version = record.registry_version
    if version and any(other.registry_version == version for other in registry.versions(work.tenant)):
        registry.tag_version(work.tenant, version, {"promoted": str(promoted).lower()})
