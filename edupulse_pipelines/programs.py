"""The environment of programs that are no part of EduPulse: PostgreSQL's, Barman, git, commands of the installation.

Whatever such a program is and starts could read the variables it is given, and so could who looks at its process. Ours
hold URLs with passwords and the operator's key: each program that is started gets the environment made here.
"""

from __future__ import annotations

import os

_OURS = ("EDUPULSE_", "MLFLOW_", "DAGSTER_")
"""How the names of variables begin that are for EduPulse and the libraries in it; new ones are kept back as well."""


def environment(*, in_english: bool = True, password: bool = True) -> dict[str, str]:
    """The environment of this process without what is ours.

    in_english: what the program says is read here. password: keep libpq's PGPASSWORD, for a program that connects.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    if not password:
        kept.pop("PGPASSWORD", None)
    return {**kept, "LC_ALL": "C.UTF-8"} if in_english else kept
