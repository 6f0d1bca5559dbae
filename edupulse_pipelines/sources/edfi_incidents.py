"""Incidents of an Ed-Fi bundle: one row per incident and offender, with what was done about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from edupulse_pipelines.sources.edfi_source import EdfiSource
from edupulse_pipelines.sources.edfi_xml import Element, File

_SEVERITY = {"state offense": 4, "school code of conduct": 3, "school violation": 2, "other": 1}
"""Ed-Fi has no severity; these are its four BehaviorDescriptors. See `_severity` for what makes an incident graver."""
_MAJOR, _CRITICAL = 4, 5

_OFFENDER = "perpetrator"
_NO_OFFENDERS = ("victim", "witness", "reporter")


class _IncidentKey(NamedTuple):
    school: str
    identifier: str


@dataclass
class _Incident:
    """What the DisciplineIncident element says."""

    date: str | None
    location: str | None
    detail: str | None
    behaviors: list[str]
    aggravated: bool | None
    """A weapon was involved, or it was reported to law enforcement; None when that is not understood."""


@dataclass
class _Offense:
    """One student's part in one incident."""

    line: int
    student: str | None
    key: _IncidentKey | None
    reference: str | None
    behaviors: list[str]
    details: list[str]
    weapon: bool
    unknown_participation: str | None


class EdfiIncidents(EdfiSource):
    """One row per incident and student who did it; held in memory, because the parts refer to one another."""

    table = "discipline_incidents"
    columns = (
        "district_id", "source_record_id", "incident_date", "severity_level", "incident_type", "description",
        "resolution",
    )  # fmt: skip

    def tables(self) -> Iterator[pa.Table]:
        """The offenders' parts of the incidents."""
        return self.batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        incidents: dict[_IncidentKey, _Incident] = {}
        keys: dict[tuple[str, str], _IncidentKey] = {}
        contradicting: set[_IncidentKey] = set()
        associations: list[tuple[File, int, Element]] = []
        actions: list[tuple[File, Element]] = []
        for file, line, element in self.elements(
            "DisciplineIncident",
            "StudentDisciplineIncidentBehaviorAssociation",
            "StudentDisciplineIncidentAssociation",  # of data standard 3, offenders and others alike
            "StudentDisciplineIncidentNonOffenderAssociation",
            "StaffDisciplineIncidentAssociation",
            "DisciplineAction",
        ):
            if element.name == "DisciplineIncident":
                key = _IncidentKey(element.school or "", element.text("IncidentIdentifier") or "")
                incident = self._incident(element)
                if incidents.setdefault(key, incident) != incident:
                    contradicting.add(key)
                if element.identifier:
                    keys[file.name, element.identifier] = key
                for outsider in element.all("DisciplineIncidentExternalParticipant"):
                    self._leave_out_participants("external", outsider)
            elif element.name == "DisciplineAction":
                actions.append((file, element))
            elif element.name == "StaffDisciplineIncidentAssociation":
                self._leave_out_participants("staff", element)
            elif element.name == "StudentDisciplineIncidentNonOffenderAssociation":
                self._leave_out_participants("student", element)
            else:
                associations.append((file, line, element))
        # Of what is told in two ways nothing is believed.
        for told_twice in contradicting:
            del incidents[told_twice]
        if contradicting:
            self.note("contradicting_discipline_incidents", len(contradicting))
        offenses = self._offenses(associations, keys)
        taken = self._actions(actions, associations, keys)
        for offense in offenses:
            found = incidents.get(offense.key) if offense.key else None
            yield offense.line, _offense_row(offense, found, taken.get((offense.key, offense.student), []))

    def _incident(self, element: Element) -> _Incident:
        said = element.text("ReportedToLawEnforcement") is not None
        reported = self.answer(element, "ReportedToLawEnforcement") if said else False
        return _Incident(
            date=self.date(element, "IncidentDate"),
            location=element.code("IncidentLocation"),
            detail=element.text("Behavior", "BehaviorDetailedDescription"),
            behaviors=element.codes("Behavior", "Behavior"),
            aggravated=bool(element.all("Weapon")) or reported,
        )

    def _leave_out_participants(self, who: str, element: Element) -> None:
        for code in _participation(element) or [""]:
            has_a_name = code.lower() in (_OFFENDER, *_NO_OFFENDERS)
            self.leave_out(f"{who}_{code.lower() if has_a_name else 'participant'}")

    def _offenses(
        self, associations: list[tuple[File, int, Element]], keys: Mapping[tuple[str, str], _IncidentKey]
    ) -> list[_Offense]:
        """The parts of offenders, in file order; several behaviours of a student in one incident are one part."""
        offenses: list[_Offense] = []
        by_key: dict[tuple[_IncidentKey, str], _Offense] = {}
        for file, line, element in associations:
            codes = _participation(element)
            folded = {code.lower() for code in codes}
            # An association with a behaviour is an offender's by its definition; a code need not be given.
            offender = not codes or _OFFENDER in folded
            if not offender and folded <= set(_NO_OFFENDERS):
                self._leave_out_participants("student", element)
                continue
            key = _incident_key(element, file, keys)
            behaviors = element.codes("Behavior") + element.codes("Behavior", "Behavior")
            details = element.texts("BehaviorDetailedDescription") + element.texts(
                "Behavior", "BehaviorDetailedDescription"
            )
            weapon = bool(element.all("Weapon"))
            earlier = by_key.get((key, element.student)) if key and element.student else None
            if earlier is not None and offender and earlier.unknown_participation is None:
                self.leave_out("further_behavior_of_the_incident")
                earlier.behaviors += [behavior for behavior in behaviors if behavior not in earlier.behaviors]
                earlier.details += [detail for detail in details if detail not in earlier.details]
                earlier.weapon |= weapon
                continue
            offense = _Offense(
                line=line,
                student=element.student,
                key=key,
                reference=element.reference("DisciplineIncidentReference"),
                behaviors=behaviors,
                details=details,
                weapon=weapon,
                unknown_participation=None if offender else codes[0],
            )
            offenses.append(offense)
            if key and element.student:
                by_key.setdefault((key, element.student), offense)
        return offenses

    def _actions(
        self,
        actions: list[tuple[File, Element]],
        associations: list[tuple[File, int, Element]],
        keys: Mapping[tuple[str, str], _IncidentKey],
    ) -> dict[tuple[_IncidentKey | None, str | None], list[tuple[str, bool]]]:
        """What was done about each part: in words, and whether it is an expulsion."""
        by_reference = {
            (file.name, element.identifier): (_incident_key(element, file, keys), element.student)
            for file, _, element in associations
            if element.identifier
        }
        taken: defaultdict[tuple[_IncidentKey | None, str | None], list[tuple[str, bool]]] = defaultdict(list)
        for file, action in actions:
            parts: list[tuple[_IncidentKey | None, str | None]] = []
            for name in ("StudentDisciplineIncidentBehaviorAssociation", "StudentDisciplineIncidentAssociation"):
                for reference in action.all(f"{name}Reference"):
                    identities = reference.all(f"{name}Identity")
                    if identities:
                        parts += [
                            (_incident_key(identity, file, keys), identity.student or action.student)
                            for identity in identities
                        ]
                    elif "ref" in reference.attributes:
                        parts.append(by_reference.get((file.name, reference.attributes["ref"]), (None, None)))
            if not parts and action.all("DisciplineIncidentReference"):
                parts.append((_incident_key(action, file, keys), action.student))
            words = ", ".join(filter(None, [" and ".join(action.codes("Discipline")), _days(action)]))
            expulsion = any(code.lower().startswith("expulsion") for code in action.codes("Discipline"))
            for part in dict.fromkeys(parts):
                taken[part].append((words, expulsion))
            if not parts or (None, None) in parts:
                self.note("action_without_incident")
        return taken


def _participation(element: Element) -> list[str]:
    return element.codes("DisciplineIncidentParticipationCode") + element.codes("StudentParticipationCode")


def _incident_key(element: Element, file: File, keys: Mapping[tuple[str, str], _IncidentKey]) -> _IncidentKey | None:
    """The incident an element refers to: by an XML id of the same file, or by its natural key."""
    for identity in element.all("DisciplineIncidentReference", "DisciplineIncidentIdentity"):
        return _IncidentKey(identity.school or "", identity.text("IncidentIdentifier") or "")
    reference = element.reference("DisciplineIncidentReference")
    return keys.get((file.name, reference)) if reference else None


def _days(action: Element) -> str | None:
    length = action.text("ActualDisciplineActionLength") or action.text("DisciplineActionLength")
    return f"{length} {'day' if length in ('1', '1.0') else 'days'}" if length else None


def _offense_row(
    offense: _Offense, incident: _Incident | None, actions: list[tuple[str, bool]]
) -> dict[str, str | None]:
    behaviors = offense.behaviors or (incident.behaviors if incident else [])
    details = offense.details or ([incident.detail] if incident and incident.detail else [])
    location = f"location: {incident.location}" if incident and incident.location else None
    school, identifier = offense.key or ("", offense.reference or "")
    graver = offense.weapon or bool(incident and incident.aggravated) or any(expulsion for _, expulsion in actions)
    # No number, so that the row is held back: whether it was graver nobody knows.
    unclear = "not understood" if not graver and incident is not None and incident.aggravated is None else None
    return {
        "district_id": offense.student,
        "source_record_id": "-".join(filter(None, [school, identifier, offense.student])) or None,
        "incident_date": incident.date if incident else None,
        "severity_level": f"participation {offense.unknown_participation}"
        if offense.unknown_participation
        else unclear or _severity(behaviors, graver=graver),
        "incident_type": "; ".join(behaviors) or None,
        "description": "; ".join([*details, *filter(None, [location])]) or None,
        "resolution": "; ".join(words for words, _ in actions if words) or None,
    }


def _severity(behaviors: list[str], *, graver: bool) -> str | None:
    """1 to 5 by the gravest behaviour: State Offense 4, School Code of Conduct 3, School Violation 2, Other 1.

    `graver` (a weapon, an expulsion or a report to law enforcement) makes a state offense 5 and everything else 4. A
    behaviour of the district's own stays in words: its profile may map it (`codes` of `severity_level`).
    """
    levels = [_SEVERITY.get(behavior.lower()) for behavior in behaviors]
    unknown = next((behavior for behavior, level in zip(behaviors, levels, strict=True) if level is None), None)
    if unknown is not None or not levels:
        return unknown
    level = max(level for level in levels if level is not None)
    if graver:
        level = _CRITICAL if level >= _MAJOR else _MAJOR
    return str(level)
