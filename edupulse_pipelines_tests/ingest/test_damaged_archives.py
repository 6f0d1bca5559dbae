"""An archive that has lost a bit: noticed before a row is judged, made again of the landed file, or named."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.archived_file import archive_facts, hash_of_archive, is_archived, is_whole
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District
from edupulse_pipelines_tests.ingest.test_archive import ROSTER, put, roster

GRADES = "district_id,course_id,submission_date,grade_value,source_record_id\n" + "".join(
    f"ZQ{number % 7},math,2025-09-0{1 + number % 5},{50 + number % 50},r{number}\n" for number in range(200)
)
FILES = metadata.tables["ingested_files"]


def archived(district: District) -> Path:
    """The archive of grades that have been landed and not been loaded."""
    for number in range(7):
        district.enrol(f"ZQ{number}")
    district.land(1, grades=GRADES)
    archive(district)
    (path,) = (district.raw / "lakeside" / "grades").rglob("*.parquet")
    return path


def archive(district: District) -> None:
    archive_files(district.work, district.raw, district.tenant, "grades", [FIRST_WEEK])


def load(district: District) -> list[int]:
    report = load_records(district.work, district.raw, district.tenant, "grades", [FIRST_WEEK])
    return [delivery.inserted for delivery in report.deliveries]


def clear_landing(district: District) -> None:
    shutil.rmtree(district.landing / "2025-09-08")


def forget_hashes(district: District) -> None:
    """As an earlier release has left them."""
    with district.engine.begin() as connection:
        connection.execute(FILES.update().values(archive_sha256=None))


def places(size: int) -> list[int]:
    """All through the file: its beginning, its pages, and its footer to the last byte."""
    step = max(1, size // 60)
    return [*range(0, size, step), *range(size - 40, size)]


@pytest.mark.usefixtures("quick_judge")
def test_no_flipped_bit_is_loaded(district: District) -> None:
    path = archived(district)
    whole = path.read_bytes()
    clear_landing(district)
    for place in places(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(
            PermanentError, match=r"grades: the archive of 2025-09-08/grades.csv is damaged \(in .*2025-09-08\)"
        ):
            load(district)
    for content in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"\0", b"PAR1" * 100):
        path.write_bytes(content)
        with pytest.raises(PermanentError, match="is damaged"):
            load(district)
    assert district.rows("grades", "id") == []
    path.write_bytes(whole)
    assert load(district) == [200]


@pytest.mark.usefixtures("quick_judge")
@pytest.mark.parametrize("place", ["beginning", "middle", "footer", "gone"])
@pytest.mark.parametrize("by", ["raw step", "load"])
def test_a_damaged_archive_is_made_again_of_the_landed_file(district: District, place: str, by: str) -> None:
    path = archived(district)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[{"beginning": 4, "middle": len(whole) // 2, "footer": len(whole) - 60, "gone": 0}[place]] ^= 4
    path.write_bytes(damaged)
    if place == "gone":
        path.unlink()
    if by == "raw step":
        archive(district)
        assert path.read_bytes() == whole
    assert load(district) == [200]
    assert path.read_bytes() == whole
    (entry,) = district.manifest()
    assert entry["archive_sha256"] == hash_of_archive(path)


@pytest.mark.usefixtures("quick_judge")
def test_another_content_that_is_landed_now_is_not_taken_for_it(district: District) -> None:
    path = archived(district)
    path.write_bytes(path.read_bytes()[:-9])
    put(district, 1, "grades.csv", GRADES.replace(",50,", ",51,"))
    with pytest.raises(PermanentError, match="is damaged"):
        load(district)


@pytest.mark.usefixtures("quick_judge")
def test_a_loaded_file_is_loaded_again_only_when_it_has_to_be(district: District) -> None:
    path = archived(district)
    load(district)
    path.write_bytes(path.read_bytes()[:-9])
    archive(district)
    (entry,) = district.manifest()
    assert (entry["status"], entry["archive_sha256"]) == ("archived", hash_of_archive(path))
    assert district.run("grades")["grades"].counts == (200, 0, 0, 200, 0)


def test_a_content_is_not_shared_from_a_damaged_archive(district: District) -> None:
    path = archived(district)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    path.write_bytes(damaged)
    put(district, 1, "grades-b.csv", GRADES)
    (district.landing / "2025-09-08" / "grades.csv").unlink()
    archive(district)
    (copy,) = (district.raw / "lakeside" / "grades").rglob("grades-b*.parquet")
    assert copy.read_bytes() != bytes(damaged)
    assert is_whole(copy, 200)


@pytest.mark.usefixtures("quick_judge")
def test_an_archive_from_before_archives_had_a_hash(district: District) -> None:
    """While its file is landed it is made again; else it is read to its end, and said to be unverified."""
    path = archived(district)
    forget_hashes(district)
    path_of_landed = path.read_bytes()
    archive(district)
    (entry,) = district.manifest()
    assert (entry["status"], entry["archive_sha256"]) == ("archived", hash_of_archive(path))
    assert path.read_bytes() == path_of_landed
    forget_hashes(district)
    clear_landing(district)
    report = load_records(district.work, district.raw, district.tenant, "grades", [FIRST_WEEK])
    assert report.warnings == {"archive_unverified": 1}
    assert [delivery.inserted for delivery in report.deliveries] == [200]
    (entry,) = district.manifest()
    assert entry["archive_sha256"] == hash_of_archive(path)


@pytest.mark.usefixtures("quick_judge")
@pytest.mark.parametrize("content", [b"", b"PAR1", "half", "one row less"])
def test_a_damaged_archive_without_a_hash_is_named(district: District, content: bytes | str) -> None:
    import pyarrow.parquet as pq

    path = archived(district)
    forget_hashes(district)
    clear_landing(district)
    if content == "one row less":
        pq.write_table(pq.read_table(path).slice(1), path)
    else:
        path.write_bytes(path.read_bytes()[:900] if isinstance(content, str) else content)
    with pytest.raises(PermanentError, match="is damaged"):
        load(district)


def test_no_damage_makes_the_facts_of_an_archive_an_exception(district: District) -> None:
    """They are read before the hash is known to fit, where an earlier release has left an archive."""
    path = archived(district)
    whole = path.read_bytes()
    for place in places(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        archive_facts(path)
        is_archived(path, "0" * 64, {"profile": "x"})
        is_whole(path, 200)


@pytest.mark.usefixtures("quick_judge")
def test_a_replay_reads_no_damaged_archive(district: District) -> None:
    path = archived(district)
    put(district, 1, "grades.csv", GRADES.replace("ZQ3", "ZQlater"))
    district.run("grades")
    waiting = len(district.quarantine())
    assert waiting > 0
    (path,) = [found for found in (district.raw / "lakeside" / "grades").rglob("*.parquet") if found != path]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    clear_landing(district)
    district.enrol("ZQlater")
    with pytest.raises(PermanentError, match="is damaged"):
        load(district)
    assert len(district.quarantine()) == waiting


@pytest.mark.parametrize("damage", ["directory", "content", "half"])
def test_a_kept_bundle_that_is_damaged_is_named(district: District, damage: str) -> None:
    """The changes delivered after it cannot be read without it; a part of it must not do instead."""
    put(district, 1, "sis.zip", roster())
    archive(district)
    (kept,) = (district.raw / "lakeside" / "originals").rglob("*.zip")
    whole = bytearray(kept.read_bytes())
    if damage == "directory":  # the name of a member, where the zip's directory has it
        whole[whole.rindex(b"lineItems.csv")] ^= 1
    elif damage == "content":
        whole[whole.index(b"Quiz")] ^= 1
    else:
        del whole[len(whole) // 2 :]
    kept.write_bytes(whole)
    clear_landing(district)
    put(
        district,
        2,
        "sis.zip",
        roster(
            manifest="propertyName,value\noneroster.version,1.1\nfile.results,delta\n",
            results=ROSTER["results.csv"],
        ),
    )
    with pytest.raises(PermanentError, match=r"bundle that was kept of the delivery of 2025-09-08 is damaged"):
        archive_files(district.work, district.raw, district.tenant, "grades", [FIRST_WEEK + dt.timedelta(weeks=1)])
