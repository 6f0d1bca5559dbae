"""Reading every byte of base backups and WAL against the checksums that the server gave them.

Barman's `check-backup` finds missing WAL, and its `verify-backup` starts PostgreSQL's `pg_verifybackup`. That tool
reads neither what is compressed or encrypted nor, in some builds, anything; there the checksums of `backup_manifest`,
which the server wrote while it copied, are compared here. WAL has checksums of its own, which `pg_waldump` compares.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from edupulse_pipelines.errors import EduPulseError, PermanentError
from edupulse_pipelines.operations.backup.barman import ask_barman, server_folder
from edupulse_pipelines.operations.backup.barman_backups import BaseBackup, base_backups, without_their_wal
from edupulse_pipelines.operations.backup.barman_configuration import programs_of
from edupulse_pipelines.operations.backup.wal import broken_segments, read_wal
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import Settings

_PIECE = 1 << 20  # bytes
_MANIFEST = "backup_manifest"
_UNPACKERS = {".gz": ("gzip", "-dc"), ".lz4": ("lz4", "-dc"), ".zst": ("zstd", "-dc")}


class _Hash(Protocol):
    def update(self, data: bytes, /) -> Any:
        """Take more bytes in."""

    def hexdigest(self) -> Any:
        """The checksum."""


@dataclass(frozen=True)
class Damage:
    """Something that is wrong with a base backup or with WAL."""

    backup: str | None
    """The id of the backup that cannot be relied on; None for WAL that no backup needs for itself."""
    what: str
    """A sentence that names the file."""


def verify_base_backups(settings: Settings) -> list[Damage]:
    """Read every byte of the backups and of WAL against their checksums; what is wrong, or nothing.

    What cannot be checked is named too. WAL that is missing between a backup and now is told by `wal_state`.
    """
    if settings.backup.restore_command is not None:
        return []
    backups = base_backups(settings)
    for backup in backups:
        ask_barman(settings, "check-backup", settings.backup.server, backup.id)
    # One whose WAL is missing is given up by that, and stays so.
    found = [
        Damage(given_up, f"Base backup {given_up}: {why}.") for given_up, why in without_their_wal(settings).items()
    ]
    for backup in backups:
        found += [Damage(backup.id, what) for what in _damaged_files(settings, backup)]
    if backups:
        found += _damaged_wal(settings, backups)
    return found


def _damaged_wal(settings: Settings, backups: list[BaseBackup]) -> Iterator[Damage]:
    wal = read_wal(settings)
    first = min(wal.number_of(backup.begin_wal) for backup in backups)
    segments = [segment for segment in wal.segments if segment.number >= first]
    try:
        programs = programs_of(settings, backups[-1].server_version)
        for names, said in broken_segments(segments, settings, programs):
            numbers = [wal.number_of(name) for name in names]
            needed_by = [
                b.id
                for b in backups
                if any(wal.number_of(b.begin_wal) <= number <= wal.number_of(b.end_wal) for number in numbers)
            ]
            places = " or ".join(str(segment.path) for segment in segments if segment.name in names)
            yield Damage(needed_by[0] if needed_by else None, f"The WAL {places} is damaged: {said}.")
    except EduPulseError as error:
        yield Damage(None, f"WAL was not checked: {error}")


def _damaged_files(settings: Settings, backup: BaseBackup) -> Iterator[str]:
    """What is wrong with the files of a backup, a sentence each."""
    folder = server_folder(settings) / "base" / backup.id
    if not backup.packed and not backup.tablespaces and _verifies(settings, backup):
        return
    path = folder / "data" / _MANIFEST
    try:
        expected = files_of_manifest(path.read_bytes())
    except OSError as error:
        yield f"Base backup {backup.id}: {path} cannot be read ({type(error).__name__})."
        return
    except PermanentError as error:
        yield f"Base backup {backup.id}: {path} {error}."
        return
    if any("Checksum-Algorithm" not in entry for entry in expected.values()):
        yield f"Base backup {backup.id}: {path} has no checksums, so that only sizes can be compared."
    seen: set[str] = set()
    for name, place, stream in _files(settings, folder):
        if isinstance(stream, str):
            yield f"Base backup {backup.id}: {place} {stream}."
            continue
        entry = expected.get(name)
        if entry is None:
            continue
        seen.add(name)
        if (wrong := _compared(stream, entry)) is not None:
            yield f"Base backup {backup.id}: {place} {wrong}."
    for name in sorted(set(expected) - seen):
        yield f"Base backup {backup.id}: the file {name} is missing."


def files_of_manifest(content: bytes) -> dict[str, dict[str, Any]]:
    """What a `backup_manifest` says of each file, by its name.

    PermanentError, the end of a sentence about it, where it is not what the server wrote: its last line is a checksum
    of all lines before it, without which a flipped byte could have a file not looked at.
    """
    whole, _, last = content.rstrip(b"\n").rpartition(b"\n")
    try:
        manifest = json.loads(content)
        told = manifest["Manifest-Checksum"]
        entries = {_path(entry): entry for entry in manifest["Files"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PermanentError("is damaged: it cannot be read") from None
    if b"Manifest-Checksum" not in last or hashlib.sha256(whole + b"\n").hexdigest() != told:
        raise PermanentError("is damaged: its own checksum differs")
    return entries


def _verifies(settings: Settings, backup: BaseBackup) -> bool:
    """Whether PostgreSQL's own tool reads the backup, and finds it whole; damage is then named here, file by file."""
    with suppress(EduPulseError, OSError):
        program = programs_of(settings, backup.server_version).path("pg_verifybackup")
        asked = [str(program), "--version"]
        if subprocess.run(asked, capture_output=True, check=False, env=environment()).returncode == 0:
            return ask_barman(settings, "verify-backup", settings.backup.server, backup.id).code == 0
    return False


def _compared(stream: IO[bytes], entry: dict[str, Any]) -> str | None:
    """How a file differs from what the manifest says; None where it does not."""
    algorithm = entry.get("Checksum-Algorithm")
    checksum = None if algorithm is None else _checksum(algorithm)
    size = 0
    try:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if checksum is not None:
                checksum.update(piece)
    except (OSError, EOFError, tarfile.TarError) as error:
        return f"cannot be read to its end ({type(error).__name__})"
    if size != entry["Size"]:
        return f"has {size:,} bytes instead of {entry['Size']:,}"
    if checksum is None:
        return None
    digest = checksum.hexdigest()
    told = digest if isinstance(digest, str) else digest.decode()
    if algorithm == "CRC32C":  # the server writes its bytes as they lie in memory
        told = bytes.fromhex(told)[::-1].hex()
    return None if told == entry["Checksum"] else "is not what the server wrote: its checksum differs"


def _checksum(algorithm: str) -> _Hash:
    if algorithm == "CRC32C":
        import google_crc32c

        return google_crc32c.Checksum()
    return hashlib.new(algorithm.lower())


def _files(settings: Settings, folder: Path) -> Iterator[tuple[str, Path | str, IO[bytes] | str]]:
    """Each file of a backup: its name in the manifest, where it is, and its bytes, or what is wrong with it."""
    for part in sorted(child for child in folder.iterdir() if child.is_dir()):
        prefix = "" if part.name == "data" else f"pg_tblspc/{part.name}/"
        packed = [path for path in sorted(part.iterdir()) if ".tar" in path.suffixes]
        for archive in packed:
            yield from _packed_files(settings, archive)
        if packed:
            continue
        for path in sorted(part.rglob("*")):
            if not path.is_file():
                continue
            try:
                with path.open("rb") as stream:
                    yield prefix + path.relative_to(part).as_posix(), path, stream
            except OSError as error:
                yield "", path, f"cannot be read: {error.strerror}"


def _packed_files(settings: Settings, archive: Path) -> Iterator[tuple[str, str | Path, IO[bytes] | str]]:
    """The files in a tar file of a backup, which may be compressed and encrypted."""
    stem = archive.name.split(".tar")[0]
    prefix = "" if stem == "base" else f"pg_tblspc/{stem}/"
    try:
        with _unpacked(settings, archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.isfile() and (opened := tar.extractfile(member)) is not None:
                    yield prefix + member.name.removeprefix("./"), f"{member.name} in {archive}", opened
    except (tarfile.TarError, OSError, EOFError, PermanentError) as error:
        yield "", archive, f"cannot be unpacked ({error if isinstance(error, PermanentError) else 'it is damaged'})"


@contextmanager
def _unpacked(settings: Settings, archive: Path) -> Iterator[IO[bytes]]:
    """The tar file's own bytes, decrypted and decompressed by the programs that did the opposite."""
    suffixes = list(archive.suffixes)
    stages: list[list[str]] = []
    passphrase: bytes | None = None
    if suffixes[-1] == ".gpg":
        stages.append(["gpg", "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"])
        if settings.backup.passphrase_command is not None:
            passphrase = _passphrase(settings.backup.passphrase_command)
            stages[-1] += ["--passphrase-fd", "0"]
        stages[-1] += ["--decrypt", str(archive)]
        suffixes.pop()
    if suffixes[-1] in _UNPACKERS:
        stages.append([*_UNPACKERS[suffixes[-1]], *([] if stages else [str(archive)])])
    if not stages:
        with archive.open("rb") as plain:
            yield plain
        return
    with tempfile.TemporaryFile() as errors:
        processes: list[subprocess.Popen[bytes]] = []
        for stage in stages:
            before = processes[-1].stdout if processes else None
            given = subprocess.PIPE if passphrase is not None and not processes else subprocess.DEVNULL
            processes.append(
                subprocess.Popen(stage, stdin=before or given, stdout=subprocess.PIPE, stderr=errors, env=environment())
            )
            if before is not None:
                before.close()
        if passphrase is not None and processes[0].stdin is not None:
            processes[0].stdin.write(passphrase)
            processes[0].stdin.close()
        last = processes[-1].stdout
        assert last is not None
        try:
            yield last
            while last.read(_PIECE):  # what follows the end of the tar
                pass
        finally:
            last.close()
            codes = [process.wait() for process in processes]
        if any(codes):
            raise PermanentError(f"{stages[[code != 0 for code in codes].index(True)][0]} says that it is damaged")


def _passphrase(command: str) -> bytes:
    ended = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False, env=environment())
    if ended.returncode != 0 or not ended.stdout.strip():
        raise PermanentError("[backup] passphrase_command prints no passphrase")
    return ended.stdout.rstrip(b"\n") + b"\n"


def _path(entry: dict[str, Any]) -> str:
    """The name of a file in a manifest, where one that is no text is in hexadecimal."""
    return entry["Path"] if "Path" in entry else bytes.fromhex(entry["Encoded-Path"]).decode("utf-8", "surrogateescape")
