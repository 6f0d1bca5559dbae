"""What is exported tells who nobody is: k, codes, moved weeks, hidden counts; what cannot be done is refused."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.governance import aggregates, erasure, research
from edupulse_pipelines.governance.anonymity import anonymous, closeness, diversity
from edupulse_pipelines.governance.disclosures import Circumstances, disclosures
from edupulse_pipelines.schema.sqlalchemy_tables import student_features, weekly_activity
from edupulse_pipelines.schema.sqlalchemy_tables import students as students_table
from edupulse_pipelines.weeks import feature_date
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, STUDENT_HEADER, District

CIRCUMSTANCES = Circumstances(recipient="a university", purpose="a study", legal_basis="an agreement")


def filled(engine: sa.Engine, folder: Path, count: int) -> District:
    """A district of so many students with a vector and activity in the first week; one has a rare ethnicity."""
    made = District(engine, folder)
    rows = [
        f"n{number},First{number},Last{number},{2010 + number % 3}-05-0{1 + number % 9},{9 + number % 2},"
        f"{'FM'[number % 2]},{'rare' if number == 0 else 'common'}"
        for number in range(count)
    ]
    made.land(1, students="\n".join([f"{STUDENT_HEADER},grade_level,gender,ethnicity", *rows]) + "\n")
    made.run("students")
    with engine.begin() as connection:
        ids = connection.scalars(sa.select(students_table.c.id)).all()
        for table, values in (
            (student_features, {"feature_date": feature_date(FIRST_WEEK)}),
            (weekly_activity, {"week_start": FIRST_WEEK, "sessions_present": 4}),
        ):
            connection.execute(
                table.insert(), [{"tenant_id": made.tenant.name, "student_id": one, **values} for one in ids]
            )
    return made


def _fill(engine: sa.Engine, folder: Path) -> None:
    filled(engine, folder, 121)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene | None:
    return _fill if "district" in request.fixturenames else None


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    return District(engine, tmp_path)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def released(district: District, name: str, out: Path, **changes: Any) -> research.Exported:
    asked = {"k": 10, "max_suppressed": 0.05, **changes}
    return research.export(district.work, district.raw.parent, name, out, circumstances=CIRCUMSTANCES, **asked)


def test_everybody_looks_like_nine_others_and_nobody_is_named(district: District, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = released(district, "study", out)
    rows = read(out / "students.csv")
    sizes = Counter(tuple(row[name] for name in research.QUASI) for row in rows)
    assert min(sizes.values()) == made.k >= 10
    assert made.students + made.suppressed == 121
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["k"] == made.k
    assert set(report["l_diversity"]) == set(report["t_closeness"]) == set(research.SENSITIVE)
    text = "".join(path.read_text(encoding="utf-8") for path in out.iterdir())
    assert not [word for word in ("First", "Last", "rare", "n17", "2010-05") if word in text]
    # Weeks are moved by whole weeks, each student's by another number, and never not at all.
    weeks = [dt.date.fromisoformat(row["week"]) for row in read(out / "weekly.csv")]
    assert all(week.weekday() == 0 and week != FIRST_WEEK for week in weeks)
    assert len(set(weeks)) > 10
    sealed = district.raw.parent / "releases" / district.tenant.name / "study.crosswalk"
    assert b'"n17"' not in sealed.read_bytes()  # without quotes letters of a cipher may be it by chance
    crosswalk = {
        row["code"]: row for row in research.unseal(district.raw.parent, district.tenant.name, "study")["crosswalk"]
    }
    assert {row["code"] for row in rows} == set(crosswalk)
    with district.work.reading() as connection:
        (line,) = disclosures(connection, district.work)
    assert (line.kind, line.subject_hash, set(line.files)) == ("research", None, {path.name for path in out.iterdir()})


def test_codes_are_of_one_release_alone_and_an_erased_student_leaves_the_crosswalk(
    district: District, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        released(district, name, tmp_path / name)
    codes = [{row["code"] for row in read(tmp_path / name / "students.csv")} for name in ("one", "two")]
    assert not codes[0] & codes[1]
    with pytest.raises(PermanentError, match="of this name already"):
        released(district, "one", tmp_path / "three")
    done = erasure.erase(
        district.work, district.raw, district.tenant, "n17", reason="asked", approved_by="another", execute=True
    )
    assert done.counts["releases"] == 2
    assert research.releases_with(district.raw.parent, district.tenant.name, ["n17"]) == []
    sealed = district.raw.parent / "releases" / district.tenant.name / "one.crosswalk"
    sealed.write_bytes(sealed.read_bytes()[:-5] + b"AAAA=")
    with pytest.raises(PermanentError, match="cannot be opened"):
        research.unseal(district.raw.parent, district.tenant.name, "one")


@pytest.mark.parametrize("kind", ["research", "aggregates"])
def test_an_export_that_failed_leaves_its_name_and_no_file(
    district: District, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def export(out: Path) -> None:
        if kind == "research":
            released(district, "study", out)
        else:
            aggregates.publish(
                district.work, district.raw.parent, "study", out, FIRST_WEEK, [["gender"]], 10, CIRCUMSTANCES
            )

    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match="cannot be written"):
        export(tmp_path / "file" / "out")

    def fails(*_: Any, **__: Any) -> None:
        raise PermanentError("The database is gone.")

    with monkeypatch.context() as patched, pytest.raises(PermanentError, match="is gone"):
        patched.setattr("edupulse_pipelines.governance.disclosures.record", fails)
        export(tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()
    assert [path for path in (district.raw.parent / "releases").rglob("*") if path.is_file()] == []
    export(tmp_path / "out")
    with district.work.reading() as connection:
        assert len(disclosures(connection, district.work)) == 1


def test_a_list_of_codes_whose_key_is_kept_elsewhere_stops_no_erasure_and_is_told(
    district: District, tmp_path: Path
) -> None:
    home, tenant = district.raw.parent, district.tenant
    for name in ("here", "away"):
        released(district, name, tmp_path / name)
    key = home / "releases" / tenant.name / "away.key"
    kept = key.read_bytes()
    key.unlink()

    def erased(execute: bool) -> erasure.Erased:
        return erasure.erase(
            district.work, district.raw, tenant, "n17", reason="asked", approved_by="another", execute=execute
        )

    for execute in (False, True):
        done = erased(execute)
        assert done.counts["releases"] == 1
        assert "Of the releases: away." in done.remains[-1]
    with pytest.raises(PermanentError, match="was erased on"):
        erased(execute=True)
    key.write_bytes(kept)
    # With the key it is finished by saying it again.
    assert erased(execute=True).counts["releases"] == 1
    assert research.releases_with(home, tenant.name, ["n17"]) == []
    assert not any("Of the releases" in sentence for sentence in erasure.remains(district.work, home))


def test_a_district_of_twelve_students(engine: sa.Engine, tmp_path: Path) -> None:
    district = filled(engine, tmp_path, 12)
    made = released(district, "small", tmp_path / "out")
    assert (made.students, made.k) == (12, 12)
    assert len({tuple(row[name] for name in research.QUASI) for row in read(tmp_path / "out" / "students.csv")}) == 1
    with pytest.raises(PermanentError, match="No coarsening"):
        released(district, "larger", tmp_path / "none", k=13)
    assert not (tmp_path / "none").exists()
    assert not list((tmp_path / "releases").rglob("larger*"))
    published(district, "counts", tmp_path / "counts")
    assert {row["students"] for row in read(tmp_path / "counts" / "counts.csv")} <= {"12", "hidden", "0"}


def published(
    district: District, name: str, out: Path, *tables: str, k: int = 10, week: dt.date = FIRST_WEEK
) -> aggregates.Published:
    split = [table.split(",") for table in tables or ("grade_level,gender", "grade_level,ethnicity")]
    return aggregates.publish(district.work, district.raw.parent, name, out, week, split, k, CIRCUMSTANCES)


def test_small_counts_are_hidden_in_every_release_and_together(district: District, tmp_path: Path) -> None:
    made = published(district, "first", tmp_path / "first")
    rows = read(tmp_path / "first" / "counts.csv")
    assert not [row for row in rows if row["students"].isdigit() and 0 < int(row["students"]) < 10]
    assert made.hidden > 1
    lone = [row for row in rows if row["ethnicity"] == "rare" and row["grade_level"] == "(all)"]
    assert [row["students"] for row in lone] == ["hidden"]
    # The first release has said how many there are in all: of the common ones the next cannot say it.
    published(district, "second", tmp_path / "second", "ethnicity")
    later = {row["ethnicity"]: row["students"] for row in read(tmp_path / "second" / "counts.csv")}
    assert later["rare"] == later["common"] == "hidden"
    with pytest.raises(PermanentError, match="of this name already"):
        published(district, "first", tmp_path / "again")
    with pytest.raises(ConfigurationError, match="--by"):
        published(district, "third", tmp_path / "third", "first_name")
    with pytest.raises(ConfigurationError, match="small letters"):
        published(district, "../third", tmp_path / "third")


def test_a_week_is_checked_with_those_before_it(district: District, tmp_path: Path) -> None:
    """The same people a week later: what the first release told of them tells the same of the second."""
    later = FIRST_WEEK + dt.timedelta(days=7)
    vectors = student_features
    with district.engine.begin() as connection:
        rows = connection.execute(sa.select(vectors.c.tenant_id, vectors.c.student_id)).mappings().all()
        connection.execute(vectors.insert(), [{**row, "feature_date": feature_date(later)} for row in rows])
    published(district, "first", tmp_path / "first")
    published(district, "second", tmp_path / "second", "ethnicity", week=later)
    told = {row["ethnicity"]: row["students"] for row in read(tmp_path / "second" / "counts.csv")}
    assert told["rare"] == told["common"] == "hidden"
    # As many others a week later: then nothing follows from the first.
    with district.engine.begin() as connection:
        of = vectors.c
        ids = connection.scalars(sa.select(of.student_id).where(of.feature_date == feature_date(later))).all()
        half = [one for number, one in enumerate(ids) if number % 2]
        connection.execute(vectors.delete().where(of.student_id.in_(half), of.feature_date == feature_date(later)))
    published(district, "third", tmp_path / "third", "gender", week=later)
    counted = {row["gender"]: row["students"] for row in read(tmp_path / "third" / "counts.csv")}
    assert all(count.isdigit() for count in counted.values())


def test_a_rate_is_hidden_where_one_of_its_counts_is(district: District, tmp_path: Path) -> None:
    published(district, "rates", tmp_path / "rates")
    rows = read(tmp_path / "rates" / "counts.csv")
    count_of = {tuple(row[name] for name in ("ethnicity", "gender", "grade_level")): row["students"] for row in rows}
    rates = hidden = 0
    for row in rows:
        last = next((name for name in ("gender", "ethnicity") if row[name] != "(all)"), None)
        if last is None:
            assert (row["of"], row["rate"]) == ("", "")
            continue
        whole = {**row, last: "(all)"}
        of = count_of[tuple(whole[name] for name in ("ethnicity", "gender", "grade_level"))]
        assert row["of"] == of
        if "hidden" in (of, row["students"]):
            # With the count of the whole a rate would tell the count, and with the count that of the whole.
            assert row["rate"] == "hidden"
            hidden += 1
        elif int(of):
            assert float(row["rate"]) == pytest.approx(int(row["students"]) / int(of), abs=1e-4)
            rates += 1
    assert rates and hidden


def test_k_l_and_t_are_what_they_are_said_to_be() -> None:
    rows = [{"q": "a", "s": "x"}] * 3 + [{"q": "b", "s": "x"}, {"q": "b", "s": "y"}]
    assert diversity(rows, ["q"], "s") == 1
    assert closeness(rows, ["q"], "s") == pytest.approx(0.3)  # of class b half are x, of all four fifths
    assert anonymous([], (), 2, 0.0) is None
