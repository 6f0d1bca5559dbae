"""How to reach the parent, guardian or relative of each student of an Ed-Fi bundle.

The data standards before 5 call these people Parent, the later ones Contact. An association says what somebody is to
a student: a neighbour, a case worker or a doctor is no `parent_contact`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from edupulse_pipelines.schema.answers import answer
from edupulse_pipelines.sources.edfi_xml import Element, File

_PERSONS = {"Parent": "ParentUniqueId", "Contact": "ContactUniqueId"}
_ASSOCIATIONS = {"StudentParentAssociation": "Parent", "StudentContactAssociation": "Contact"}
ELEMENTS = (*_PERSONS, *_ASSOCIATIONS)
"""The elements that say how somebody is reached, and what they are to a student."""
_KIN = frozenset(
    ("parent", "parents", "mother", "father", "guardian", "guardians", "grandmother", "grandfather", "grandparent",
     "grandparents", "stepmother", "stepfather", "stepparent", "aunt", "uncle", "sister", "brother", "sibling",
     "stepsister", "stepbrother", "cousin", "niece", "nephew", "relative", "relatives", "husband", "wife", "spouse",
     "daughter", "son", "family")
)  # fmt: skip
"""Words of the relations (RelationDescriptor) that parents, guardians and relatives have: `Mother, foster` is one."""
_NOT_KIN = frozenset(("friend", "worker", "lawyer", "doctor", "agency", "service", "services"))
_LAST = 1 << 30


@dataclass(frozen=True)
class _Association:
    student: str
    person: str
    kin: bool
    order: tuple[int, bool, int]


def parent_contacts(files: list[File]) -> tuple[dict[str, str], Counter[str]]:
    """By student number the address of the first parent, guardian or relative who has one; and what was noted.

    First is whoever has the lowest ContactPriority, then a primary contact, then whoever comes first in the files.
    """
    addresses: dict[str, str] = {}
    associations: list[_Association] = []
    notes: Counter[str] = Counter()
    for file in files:
        references: dict[str, str] = {}
        for element in file.elements(*ELEMENTS):
            if element.name in _PERSONS:
                number = element.text(_PERSONS[element.name])
                if number is None:
                    continue
                if element.identifier:
                    references[element.identifier] = number
                address = _address(element)
                if address is not None and addresses.setdefault(number, address) != address:
                    notes["contradicting_contacts"] += 1
            elif (association := _association(element, references, len(associations))) is not None:
                associations.append(association)
    contacts: dict[str, str] = {}
    for association in sorted(associations, key=lambda association: association.order):
        address = addresses.get(association.person)
        if address is None:
            continue
        if association.kin:
            contacts.setdefault(association.student, address)
        else:
            notes["contacts_who_are_no_relatives"] += 1
    return contacts, notes


def _association(element: Element, references: dict[str, str], place: int) -> _Association | None:
    kind = _ASSOCIATIONS[element.name]
    person = element.text(f"{kind}Reference", f"{kind}Identity", _PERSONS[kind])
    person = person or references.get(element.reference(f"{kind}Reference") or "")
    if element.student is None or person is None:
        return None
    words = set(re.findall(r"[a-z]+", (element.code("Relation") or "").lower()))
    priority = element.text("ContactPriority") or ""
    primary = answer(element.text("PrimaryContactStatus") or "") is True
    order = (int(priority) if priority.isascii() and priority.isdigit() else _LAST, not primary, place)
    return _Association(element.student, person, bool(words & _KIN) and not words & _NOT_KIN, order)


def _address(person: Element) -> str | None:
    """An e-mail address, else a telephone number."""
    mails = person.texts("ElectronicMail", "ElectronicMailAddress")
    return next(iter([*mails, *person.texts("Telephone", "TelephoneNumber")]), None)
