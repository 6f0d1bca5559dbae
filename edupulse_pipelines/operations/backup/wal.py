"""WAL as it lies in Barman's folder: which segments there are, which are missing, and what is found in them.

Segments are read by the server's own `pg_waldump`, which checks every record. How WAL gets here is Barman's business.
"""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.operations.backup.barman import ask_barman, server_folder
from edupulse_pipelines.operations.postgresql_server import Programs
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import Settings

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_USUAL_BYTES = 16 << 20
_STREAM = "streaming"
"""The folder that the receiver writes into."""
_ARCHIVED = "wals"
RECEIVED = (_ARCHIVED, _STREAM)
"""The folders of the server's folder that hold WAL."""
_BATCH = 32
"""How many segments are unpacked at a time."""
_ENDED = re.compile(r"tx:\s*(\d+), lsn: ([0-9A-F]+)/([0-9A-F]+), .*?desc: (COMMIT|ABORT)\w* (.*)")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
_POINT = re.compile(r"tx:\s*\d+, lsn: ([0-9A-F]+)/([0-9A-F]+), .*?desc: RESTORE_POINT (.*)")
_BROKEN_IN = re.compile(r"in (?:WAL|log) segment ([0-9A-F]{24})")
_BROKEN_AT = re.compile(r"(?:at|after|lsn) ([0-9A-F]+)/([0-9A-F]+)")
_LAST_WHOLE = re.compile(r"^error in WAL record at [0-9A-F]+/[0-9A-F]+: ")
_PAGE_BYTES, _PAGE_HEADER_BYTES = 8192, 24
"""Of pages of WAL; the first of a segment has a longer header, and no record that is asked about begins before it."""
_MOST_BYTES_OF_A_RECORD = 1020 << 20
_HEADER_BYTES = 24
_OF_HEADER = re.compile(r"prev-link|resource manager ID|invalid record length")
"""What is found wrong before the rest of a record is read."""


@dataclass(frozen=True)
class Segment:
    """A file of WAL: `number` counts on from one to the next, whatever the timeline."""

    name: str
    timeline: int
    number: int
    path: Path
    partial: bool
    """Still being filled."""
    packed: bool
    """Compressed or encrypted."""
    written_at: dt.datetime


@dataclass(frozen=True)
class Gap:
    """WAL segments that are missing, first and last by name."""

    first: str
    last: str
    segments: int


@dataclass(frozen=True)
class Wal:
    """The segments that replaying the newest timeline goes through, in order of their numbers, none twice."""

    segments: tuple[Segment, ...]
    segment_bytes: int

    @property
    def archived(self) -> set[str]:
        """The names of those that have arrived whole, and lie where backups look for them."""
        return {segment.name for segment in self.segments if segment.path.parent.name != _STREAM}

    @property
    def finished(self) -> set[str]:
        """The names of those that have arrived whole, and have yet to be put there."""
        return {s.name for s in self.segments if s.path.parent.name == _STREAM and not s.partial}

    def number_of(self, name: str) -> int:
        """The number of the segment of this name."""
        return _number(name, self.segment_bytes)

    def from_segment(self, name: str) -> tuple[Segment, ...]:
        """Those from this one on without a gap; none where it is missing itself."""
        wanted = self.number_of(name)
        found: list[Segment] = []
        for segment in self.segments:
            if segment.number < wanted:
                continue
            if segment.number != wanted:
                break
            found.append(segment)
            wanted += 1
        return tuple(found)

    def gaps(self, first: str) -> tuple[Gap, ...]:
        """What is missing between the segment `first` and the newest one."""
        expected = self.number_of(first)
        timeline = int(first[:8], 16)
        gaps = []
        for segment in self.segments:
            if segment.number < expected:
                continue
            if segment.number > expected:
                names = [_name(timeline, number, self.segment_bytes) for number in (expected, segment.number - 1)]
                gaps.append(Gap(names[0], names[1], segment.number - expected))
            expected, timeline = segment.number + 1, segment.timeline
        return tuple(gaps)


@dataclass(frozen=True)
class Reached:
    """The segment in which replaying ends. `exactly`: a change after the target is known, so the server will stop."""

    segment: Segment
    exactly: bool = True


def read_wal(settings: Settings) -> Wal:
    """The WAL that has been received, of the newest timeline and those that it comes from."""
    folder = server_folder(settings)
    size = _segment_bytes(folder)
    found: dict[int, dict[int, Segment]] = {}  # by number, then timeline
    for path in [*folder.glob(f"{_ARCHIVED}/*/*"), *folder.glob(f"{_STREAM}/*")]:
        match = _SEGMENT.fullmatch(path.name)
        if match is None:
            continue
        try:
            written = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
            packed = path.parent.name != _STREAM and path.stat().st_size != size
        except FileNotFoundError:  # archived or thrown away meanwhile
            continue
        name, partial = path.name.removesuffix(".partial"), match[4] is not None
        segment = Segment(name, int(match[1], 16), _number(name, size), path, partial, packed, written)
        of_number = found.setdefault(segment.number, {})
        before = of_number.get(segment.timeline)
        if before is None or before.partial:
            of_number[segment.timeline] = segment
    histories = {
        int(match[1], 16): path
        for pattern in (f"{_ARCHIVED}/*.history", f"{_ARCHIVED}/*/*.history", f"{_STREAM}/*.history")
        for path in folder.glob(pattern)
        if (match := _HISTORY.fullmatch(path.name))
    }
    timelines = {timeline for of_number in found.values() for timeline in of_number} | set(histories)
    path_of_newest = _ancestors(max(timelines, default=1), histories)
    chosen = []
    for number in sorted(found):
        usable = [timeline for timeline in found[number] if timeline in path_of_newest]
        if usable:
            chosen.append(found[number][max(usable)])
    return Wal(tuple(chosen), size)


def end_of_target(
    segments: Sequence[Segment],
    settings: Settings,
    programs: Programs,
    *,
    time: dt.datetime | None = None,
    transaction: int | None = None,
    point: str | None = None,
) -> Reached | None:
    """Where replaying the segments meets the one target that is given; None where it does not.

    time: the first transaction that ended later; without one, the newest segment if that was still being written then.
    """
    for batch in _batches(segments):
        for line in _dump(batch, settings, programs, "XLOG" if point is not None else "Transaction"):
            if point is not None:
                match = _POINT.search(line)
                if match and match[3].strip() == point:
                    return Reached(_holding(batch, match[1], match[2], settings))
                continue
            match = _ENDED.search(line)
            if match is None:
                continue
            if transaction is not None and int(match[1]) == transaction % (1 << 32):
                return Reached(_holding(batch, match[2], match[3], settings))
            told = _TIME.search(match[5])
            if time is not None and told is not None and _utc(told[1]) > time:
                return Reached(_holding(batch, match[2], match[3], settings))
    if time is not None and segments and segments[-1].written_at >= time:
        return Reached(segments[-1], exactly=False)
    return None


def broken_segments(
    segments: Sequence[Segment], settings: Settings, programs: Programs
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The names of segments whose records are not what was written, each with what `pg_waldump` says.

    Two names: a record goes over from the one into the other, and one of them is damaged. The segment that is still
    being filled ends where it ends, and is not judged.
    """
    for batch in _batches([segment for segment in segments if not segment.partial]):
        rest = list(batch)
        with _unpacked(rest, settings) as folder:
            for segment in list(rest):
                if not (folder / segment.name).exists():
                    yield (segment.name,), "it cannot be unpacked"
                    rest.remove(segment)
            either: tuple[tuple[Segment, ...], str] | None = None
            while rest:
                ended = _waldump(programs, folder, rest, ["--quiet"])
                blamed: tuple[Segment, ...] = ()
                said = ""
                if ended.returncode != 0:
                    lines = ended.stderr.strip().splitlines()[-1:] or [f"pg_waldump ended with {ended.returncode}"]
                    said = lines[0].removeprefix("pg_waldump: error: ")
                    blamed = _blamed(rest, folder, said, settings)
                if either is not None and blamed != either[0][1:]:  # else it is the second one, which cannot be read
                    yield tuple(segment.name for segment in either[0]), either[1]
                either = None
                if not blamed:
                    break
                if len(blamed) > 1:
                    either = blamed, said
                    rest = rest[rest.index(blamed[-1]) :]
                else:
                    yield (blamed[0].name,), said
                    rest = rest[rest.index(blamed[0]) + 1 :]
            if either is not None:
                yield tuple(segment.name for segment in either[0]), either[1]


def _blamed(rest: Sequence[Segment], folder: Path, said: str, settings: Settings) -> tuple[Segment, ...]:
    """The segment that `pg_waldump` speaks of, or the two that a record or its continuation goes over."""
    named = _BROKEN_IN.search(said)
    of_page = [segment for segment in rest if named is not None and segment.name == named[1]]
    if of_page:
        return (of_page[0],)
    # What it begins with is the last record that is whole.
    places = _BROKEN_AT.findall(_LAST_WHOLE.sub("", said)) or _BROKEN_AT.findall(said)
    if not places:
        return (rest[0],)
    high, low = places[-1]
    begins = _holding(rest, high, low, settings)
    after = [segment for segment in rest if segment.number == begins.number + 1]
    size = _segment_bytes(server_folder(settings))
    length = _HEADER_BYTES if _OF_HEADER.search(said) else None
    if after and _goes_over(folder / begins.name, int(low, 16) % size, size, length):
        return (begins, after[0])
    return (begins,)


def _goes_over(segment: Path, offset: int, segment_bytes: int, length: int | None = None) -> bool:
    """Whether the record that begins there ends in the next segment.

    length: how much of it is asked about; without one as much as it says itself that it has.
    """
    if length is None:
        with segment.open("rb") as stream:
            stream.seek(offset)
            length = int.from_bytes(stream.read(4), "little")
    of_page = _PAGE_BYTES - offset % _PAGE_BYTES
    pages_after = (segment_bytes - offset - of_page) // _PAGE_BYTES
    return of_page + pages_after * (_PAGE_BYTES - _PAGE_HEADER_BYTES) < length <= _MOST_BYTES_OF_A_RECORD


def _dump(batch: Sequence[Segment], settings: Settings, programs: Programs, kind: str) -> Iterator[str]:
    """What `pg_waldump` prints of the records of a kind, up to the end of the batch or of what can be read of it."""
    with _unpacked(batch, settings) as folder:
        there = [segment for segment in batch if (folder / segment.name).exists()]
        if there:
            yield from _waldump(programs, folder, there, ["--rmgr", kind]).stdout.splitlines()


def _waldump(
    programs: Programs, folder: Path, segments: Sequence[Segment], options: list[str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs.path("pg_waldump"), *options, "--path", folder, segments[0].name, segments[-1].name],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**environment(), "TZ": "UTC"},
    )


def _batches(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Neighbours of one timeline, few enough to be unpacked at once."""
    # Of neighbours the difference of number and place is the same.
    keyed = (
        (segment.timeline, segment.number - place, place // _BATCH, segment) for place, segment in enumerate(segments)
    )
    for _, group in groupby(keyed, key=lambda entry: entry[:3]):
        yield [segment for *_, segment in group]


@contextmanager
def _unpacked(segments: Iterable[Segment], settings: Settings) -> Iterator[Path]:
    """A folder with the segments as the server wrote them, by their names; what cannot be unpacked is not there."""
    with tempfile.TemporaryDirectory(prefix="edupulse-wal-") as name:
        folder = Path(name)
        for segment in segments:
            if not segment.packed:
                (folder / segment.name).symlink_to(segment.path)
                continue
            answer = ask_barman(settings, "get-wal", "-o", name, settings.backup.server, segment.name)
            if answer.code != 0:
                (folder / segment.name).unlink(missing_ok=True)
        yield folder


def _holding(segments: Sequence[Segment], high: str, low: str, settings: Settings) -> Segment:
    """The one of the segments that this place in WAL lies in; the last where it lies in none."""
    number = ((int(high, 16) << 32) + int(low, 16)) // _segment_bytes(server_folder(settings))
    return next((segment for segment in segments if segment.number == number), segments[-1])


def _segment_bytes(folder: Path) -> int:
    """How large the server makes a segment, as Barman has noted with a backup."""
    for info in sorted(folder.glob("meta/*-backup.info"), reverse=True):
        match = re.search(r"^xlog_segment_size=(\d+)$", info.read_text(errors="replace"), re.MULTILINE)
        if match:
            return int(match[1])
    return _USUAL_BYTES


def _ancestors(timeline: int, histories: dict[int, Path]) -> set[int]:
    """The timeline and those that it comes from."""
    found = {timeline}
    if timeline in histories:
        try:
            text = histories[timeline].read_text(errors="replace")
        except OSError as error:
            raise PermanentError(f"{histories[timeline]} cannot be read: {error.strerror}.") from None
        found |= {int(line.split()[0]) for line in text.splitlines() if line[:1].isdigit()}
    elif timeline > 1:
        found |= set(range(1, timeline))  # its history has not arrived: nothing is left out
    return found


def _number(name: str, segment_bytes: int) -> int:
    return int(name[8:16], 16) * ((1 << 32) // segment_bytes) + int(name[16:24], 16)


def _name(timeline: int, number: int, segment_bytes: int) -> str:
    return "{:08X}{:08X}{:08X}".format(timeline, *divmod(number, (1 << 32) // segment_bytes))


def _utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
