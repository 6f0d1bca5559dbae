"""The errors whose message is written for a person: what went wrong, where, and what to do.

There are two kinds, and every error that is raised is of one of them. A `PermanentError` comes again until somebody
changes something: a file, a setting, a database's schema. A `TransientError` may be gone a minute later, because
something outside did not answer or was in use; Dagster tries such a step again (`orchestration.retries`).

Only errors that the command line and the Dagster assets show as they are live here. Programming mistakes stay
ordinary exceptions, and nobody tries again after one. No message may carry a value of a student's record: file, line,
column and rule are enough.
"""

from __future__ import annotations

import traceback


class EduPulseError(Exception):
    """The work failed for a reason a person can act on; the command exits with `exit_code`. Raise one of its kinds.

    `tenant`: the district that the message names; None when it names none.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, tenant: str | None = None) -> None:
        super().__init__(message)
        self.tenant = tenant


class PermanentError(EduPulseError):
    """Another try would end the same way."""


class TransientError(EduPulseError):
    """Another try, some time later, may succeed."""


class ConfigurationError(PermanentError):
    """`edupulse.toml`, an environment variable or an option is wrong (wrong usage: exit 2)."""

    exit_code = 2


class LandingError(PermanentError):
    """The landing folder is missing, or holds a delivery that cannot belong to the tenant."""


class DeliveryUnfinished(TransientError):
    """A landed file changed while it was read: somebody is still copying it."""


class CorrectionsRefused(PermanentError):
    """A file with corrected quarantine rows cannot be taken as it is; nothing of it was recorded."""


class SchemaBehind(PermanentError):
    """The database's schema is not the one this version needs; the message says what brings the two together."""


class DatabaseUnusable(PermanentError):
    """The database cannot be opened with these settings: no such database, a wrong password, a file that is none."""


class DatabaseRefused(PermanentError):
    """The database does not do what a statement asks: a missing right, say, or a constraint."""


class DatabaseUnavailable(TransientError):
    """The database does not answer."""


class DiskFull(PermanentError):
    """There is no space left to write to, here or on the database's server."""


class DatabaseBusy(TransientError):
    """Others were using what the work needed: a lock was not had in time, or the database ended one of two at odds."""


class RegistryUnavailable(TransientError):
    """The MLflow tracking server or registry does not answer."""


class RegistryRefused(PermanentError):
    """MLflow does not do what it is asked, and would not at the next try: no permission, a full disk, say."""


class KeyUnusable(PermanentError):
    """A key that is needed to read or write what is encrypted is not there, is damaged, or is another one."""


class EncryptedFileDamaged(PermanentError):
    """An encrypted file was changed or cut off; nothing of it was taken."""


class ModelArtifactError(PermanentError):
    """A registered model cannot be used: its version or artifact is gone, or is not the one that was logged."""


def unexpected_in_words(error: BaseException) -> str:
    """The kind of an unexpected error and the places it came through: enough to mend it, without its text.

    Libraries quote what they choke on, and that may be a student's value.
    """
    frames = traceback.extract_tb(error.__traceback__)
    path = "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[1:])
    return f"Unexpected {type(error).__name__}; its text is left out, because it may quote a student's record.\n{path}"
