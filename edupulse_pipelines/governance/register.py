"""The register: every place where data of a student can lie, with how it is inspected and how it is erased.

`inspection` and `erasure` do what is said here; a test plants students in every way that a district can send them, runs
everything, and fails when it finds them in a table or file that no place of the register names. What is said of each
place is for people, and stands in `docs/privacy.md` word for word.
"""

from __future__ import annotations

from dataclasses import dataclass

from edupulse_pipelines.schema.declaration import Table
from edupulse_pipelines.schema.tables import TABLES


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place. `tables`: of the database; `paths`: below the home, as globs with {tenant} for the district's name."""

    name: str
    holds: str
    inspected: str
    erased: str
    tables: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


WITHOUT_STUDENTS = {
    "schools": "schools, no people",
    "model_metadata": "models: coefficients and figures over all students",
    "model_evaluations": "figures of groups; one of fewer students than `minimum_subgroup` is never named",
    "promotion_decisions": "figures of groups, as above",
    "accepted_removals": "dates",
    "instructional_days": "dates",
    "step_accounts": "counts; codes only where they look like codes",
    "disclosures": "hashes of files; a student only as a keyed hash",
    "erasures": "a student only as a keyed hash",
    "erased_keys": "keyed hashes",
    "audit_changes": "who changed something, when and in which run; links of the chain",
    "audit_entries": "tables, counts and hashes of what a change wrote",
    "retention_certificates": "counts and hashes",
}
"""The tables that hold nothing of a student, with what they hold."""
BY_CONTENT = ("quarantined_records", "ingested_files", "audit_images")
"""The tables whose rows name a student in what they hold, and some or all of them not in a column of their own."""
NUMBER_COLUMNS = ("district_id", "old_number", "new_number")
"""Columns that hold a student's number."""


def student_column(table: Table) -> str | None:
    """The column by which rows of a table are about a student; None where no column says so."""
    if table.name in WITHOUT_STUDENTS or table.name in BY_CONTENT:
        return None
    names = table.column_names
    return next((name for name in ("student_id", "prediction_id", *NUMBER_COLUMNS) if name in names), None)


STORED_TABLES: tuple[str, ...] = tuple(name for name, table in TABLES.items() if student_column(table) is not None)
"""The tables with rows about students, in the order in which they can be created."""

PLACES: tuple[Place, ...] = (
    Place(
        name="landing",
        holds="The files as the district sent them.",
        inspected="Deliveries that held rows of the student are named; the rows themselves are shown from the archive.",
        erased="Not touched: they are the district's own. They stay until the district clears them away; read again, "
        "the student's rows are left out.",
        paths=("landing/**",),
    ),
    Place(
        name="raw archive",
        holds="Every row as it came, and the header of its file.",
        inspected="The student's rows, by delivery and line.",
        erased="Each file is written again without the rows; its hash in the manifest is restated in the same step. "
        "A header that names the student becomes `column 7`.",
        paths=("raw/{tenant}/*/*/*.parquet",),
    ),
    Place(
        name="unfinished files of the archive",
        holds="What a process was writing into the raw archive when it was killed (`.tmp`).",
        inspected="Not shown: nobody can say how much of it was written. The row is in the file that was landed.",
        erased="Removed, unless the process of this machine that the file is named after is running.",
        paths=("raw/{tenant}/*/*/*.tmp", "raw/{tenant}/originals/*/*.tmp"),
    ),
    Place(
        name="refused files",
        holds="Files that could not be read, byte for byte.",
        inspected="Those that hold the student's number or a name of any time are counted; they cannot be shown by "
        "student.",
        erased="Files that hold the number or a name of any time, or that nobody can look into, are removed.",
        paths=("raw/{tenant}/*/*/*.refused",),
    ),
    Place(
        name="kept bundles",
        holds="OneRoster and Ed-Fi bundles that rows were made of.",
        inspected="Those that hold the student's number or a name of any time are counted; their rows are shown from "
        "the archive.",
        erased="OneRoster: written again without the rows that name the student. Ed-Fi: removed, nothing reads them.",
        paths=("raw/{tenant}/originals/**",),
    ),
    Place(
        name="records",
        holds="Rows of the student, and what is computed from them: activity, features, predictions, verdicts.",
        inspected="Every row and column, with the meaning of each column and the reasons of each prediction. Of a "
        "legal hold why and by whom is held back, for the district to decide; the queue of what is to be computed is "
        "left out.",
        erased="Deleted. On PostgreSQL the tables are then rewritten and analysed, on SQLite the file is. A month "
        "with rows of the student that was taken out of its table has to be brought back first.",
        tables=STORED_TABLES,
        paths=("edupulse.db*",),
    ),
    Place(
        name="quarantine",
        holds="Rows that were not loaded, as they came and as a person corrected them.",
        inspected="The student's rows, with the reasons.",
        erased="Deleted; the account of their files counts them as `erased_student`.",
        tables=("quarantined_records",),
    ),
    Place(
        name="manifest",
        holds="Names of files and of columns that no table knows, which people may have named after a student.",
        inspected="Those that hold the student's number or a last name of any time.",
        erased="The file gets another name, and the column its place in the file.",
        tables=("ingested_files",),
    ),
    Place(
        name="releases for research",
        holds="Which code of a released data set is which student, sealed with a key.",
        inspected="The releases are in `edupulse privacy disclosures`; the page does not tell codes.",
        erased="The student is taken out of the list, so that nobody can say any more which code it was. A list whose "
        "key is kept elsewhere cannot be opened: it is named in what remains. What was given out is not called back.",
        paths=("releases/{tenant}/*.crosswalk",),
    ),
    Place(
        name="audit images",
        holds="Earlier versions of rows, each with the hash that the chain of changes is bound to.",
        inspected="Every earlier version of the student's rows, with when it was replaced.",
        erased="Emptied, those that the erasure itself makes with them; their hashes stay, and with them the chain.",
        tables=("audit_images",),
    ),
    Place(
        name="tables of version 1.0",
        holds="Rows of a database of version 1.0 that was adopted, as they were, until `edupulse db adopt --finish`.",
        inspected="Not on the page: what was kept of them is in the tables of now, the rest in quarantine.",
        erased="An erasure, and retention, is refused while they stand: `--finish` drops them as a whole.",
    ),
    Place(
        name="backups",
        holds="Moments of the database and of the home, in the folder that [backup] names.",
        inspected="Not shown: a backup is the home of an earlier day. What a moment holds is inspected in a home that "
        "is restored from it.",
        erased="Not touched: a moment holds the student until it is thrown away by [backup] retention. A restore "
        "erases again whoever was erased since; while it cannot, the restored home stays closed.",
    ),
    Place(
        name="write-ahead log and server log",
        holds="On PostgreSQL: what was written lately; and what the server logs of failed statements.",
        inspected="Not shown: nobody can read it by student.",
        erased="Overwritten by the server within its next checkpoints. Set log_error_verbosity = terse and "
        "log_min_error_statement = panic, so that the log holds no values.",
    ),
    Place(
        name="temporary folder",
        holds="While a model is made again as recorded, a copy of the records of then, in a folder `edupulse-past-*` "
        "of the system's temporary folder that only its owner can read.",
        inspected="Not shown: it is a copy, and gone when the command ends.",
        erased="Not touched: the command removes it at its end. Of one that was killed it stays until the system "
        "clears its temporary folder, or somebody removes it.",
    ),
    Place(
        name="exported files",
        holds="What somebody had written by a command: lists, exports of the quarantine, inspections, releases, dumps "
        "of months that were taken out.",
        inspected="Inspections and releases are in `edupulse privacy disclosures`; nobody keeps account of the others.",
        erased="Not touched: they lie where somebody put them.",
    ),
    Place(
        name="models",
        holds="No row and no value of a student; but the student's rows were among those that a model learned from.",
        inspected="The predictions are shown, each with its model.",
        erased="Not touched: a model stays until it is replaced. One that learned from the rows is not reproducible.",
    ),
)
