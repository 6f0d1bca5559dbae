"""Which entries of `student_metadata` are protected, or stand for something that is, by their names.

A name tells only what it says: whoever calls the postcode `area_7` is not found out. That is what the audit is for.
"""

from __future__ import annotations

import re

SHORTEST_REASON = 20
"""Characters of a written reason: a word is none."""

_WORDS = {
    "age": ("age", "aged", "birth", "born", "dob", "birthdate", "birthday", "birthyear"),
    "disability": ("disability", "disabilities", "disabled", "iep", "504", "sped", "impairment", "handicap", "sen",
                   "special education", "special needs", "diagnosis", "autism", "adhd", "dyslexia", "health",
                   "medical", "idea"),
    "gender": ("gender", "sex", "male", "female", "transgender", "nonbinary", "pregnant", "pregnancy", "parenting",
               "sexual", "orientation", "lgbt", "lgbtq", "marital"),
    "ethnicity": ("race", "races", "racial", "ethnic", "ethnicity", "hispanic", "latino", "latina", "tribe", "tribal",
                  "skin", "black", "white", "asian", "native", "indigenous"),
    "origin": ("nationality", "citizen", "citizenship", "immigrant", "immigration", "migrant", "refugee", "visa",
               "country", "origin", "birthplace"),
    "language": ("language", "ell", "esl", "lep", "english learner", "english proficiency", "mother tongue"),
    "religion": ("religion", "religious", "faith", "church"),
    "poverty": ("poverty", "poor", "income", "lunch", "frl", "frpl", "ses", "socioeconomic", "economic",
                "economically", "deprivation", "imd", "welfare", "snap", "tanf", "medicaid", "homeless", "homelessness",
                "mckinney", "foster"),
    "where the student lives": ("zip", "zipcode", "postcode", "postal", "address", "neighborhood", "neighbourhood",
                                "region", "district", "borough", "tract", "latitude", "longitude"),
    "a name": ("name", "surname", "forename", "firstname", "lastname"),
}  # fmt: skip


def protected_by(name: str) -> str | None:
    """What an entry's name stands for (`age`, `disability`, …); None where it names nothing protected.

    Words are those between underscores, blanks, hyphens and capitals, numbers apart: `ageBand`, `AGE_BAND`, `age2`.
    """
    apart = re.sub(
        r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])", " ", name
    )
    words = f" {' '.join(re.findall(r'[a-z]+|[0-9]+', apart.lower()))} "
    return next((about for about, told in _WORDS.items() if any(f" {word} " in words for word in told)), None)
