"""What lies in one delivery's folder, and what it is: canonical CSV, OneRoster and Ed-Fi bundles, plain or packed.

A format is known by names and contents together, never by an extension alone. Each `LandedFile` knows its content's
hash and opens as a `RecordSource`; what is not understood is named and left alone. No database here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from edupulse_pipelines.schema.source_formats import CSV, EDFI, ONEROSTER, WORKBOOK
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import FilesSettings, TenantSettings
from edupulse_pipelines.sources import edfi, oneroster
from edupulse_pipelines.sources.canonical_csv import CanonicalCsv
from edupulse_pipelines.sources.contents import Content, OnBytes, zip_members
from edupulse_pipelines.sources.edfi_xml import has_a_root, interchange_of
from edupulse_pipelines.sources.file_names import FileName, name_outside, read_name
from edupulse_pipelines.sources.plain_files import copy_plain, open_plain, shown
from edupulse_pipelines.sources.records import RecordSource, RefusedFile
from edupulse_pipelines.sources.workbook import WorkbookSheet, sheets_of_tables

DELIVERY_MANIFEST = "manifest.json"
"""Our own file in a delivery's folder, which `ingest.landing` reads; a OneRoster bundle has a manifest.csv."""

_LONGEST_NAME = 200  # bytes; the archive and the manifest put a date and a hash beside the name
_ONEROSTER = frozenset(
    f"{name.lower()}.csv"
    for name in (
        "academicSessions", "categories", "classes", "classResources", "courses", "courseResources", "demographics",
        "enrollments", "lineItemLearningObjectiveIds", "lineItems", "lineItemScoreScales", "manifest", "orgs",
        "resources", "resultLearningObjectiveIds", "results", "resultScoreScales", "roles", "scoreScales",
        "userProfiles", "userResources", "users",
    )
)  # fmt: skip
_BUFFER = 1 << 20
_LINK = " (a link, and links are not followed: land the file itself)"
_PACKED = {"": "", "gzip": ", gzip", "zip": " in zip"}
"""How a CSV is packed, in the words of the manifest."""


@dataclass(frozen=True, kw_only=True)
class LandedFile:
    """What a delivery has for one table under one name: a file, a member of a zip, or a table's part of a bundle.

    `contents` are all inputs by the name a converter knows them by, in order of name; `refusal` is the reason and the
    words for a file that is known to be unreadable by its outside.
    """

    name: str
    table: str
    format: Literal["csv", "workbook", "oneroster", "edfi", "unreadable"]
    contents: tuple[tuple[str, Content], ...]
    limits: FilesSettings
    refusal: tuple[str, str] | None = None
    sheet: str | None = None
    """Title of the sheet, of a workbook that has sheets named after tables and no such name itself."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that its bytes lie in."""
        return tuple(dict.fromkeys(content.path for _, content in self.contents))

    @property
    def member(self) -> str | None:
        """The member of the zip, for a canonical CSV in one."""
        return self.contents[0][1].member if self.format == "csv" else None

    @property
    def size_on_disk(self) -> int:
        """Bytes that reading it takes from the disk."""
        return sum(content.size_on_disk for _, content in self.contents)

    @property
    def is_bundle(self) -> bool:
        """Whether its rows are made out of files of another format."""
        return self.format in ("oneroster", "edfi")

    def fingerprint(self) -> tuple[str, int]:
        """SHA-256 (hex) and size in bytes of the content.

        Of a file its bytes as they are, compressed or not; of a member of a zip its uncompressed bytes, so that packing
        them again makes no difference; of a bundle names and uncompressed bytes of all its inputs. What cannot be read
        within the limits has the hash of the file it lies in; one too large to be read, of its size and beginning.
        """
        try:
            if self.format == "unreadable" or (self.format == "csv" and self.member is None):
                return self._of_bytes_on_disk()
            digest, size = hashlib.sha256((self.sheet or "").encode()), 0
            for name, content in self.contents:
                if self.is_bundle:
                    digest.update(name.encode() + b"\0")
                with content.open(self.limits) as stream:
                    while data := stream.read(_BUFFER):
                        digest.update(data)
                        size += len(data)
            return digest.hexdigest(), size
        except RefusedFile:
            return self._of_bytes_on_disk()

    @property
    def is_delta(self) -> bool:
        """Whether it is a bundle that says that it holds changes only; `open` then wants the ones before it."""
        manifest = dict(self.contents).get("manifest.csv") if self.format == "oneroster" else None
        return manifest is not None and b"delta" in _beginning(manifest, self.limits).lower()

    def open(
        self,
        tenant: TenantSettings,
        *,
        delivered_on: dt.date | None = None,
        earlier: Sequence[LandedFile] = (),
        on_bytes: OnBytes | None = None,
    ) -> RecordSource:
        """Its rows for its table. RefusedFile when it cannot be read, here or while the rows are.

        `earlier`: for a delta, the bundles before it, oldest first. `on_bytes` is told of every byte that is taken from
        the disk, also of those that are read twice.
        """
        if self.refusal is not None:
            raise RefusedFile(*self.refusal)
        openers = self._openers(on_bytes)
        if self.format == "oneroster":
            before = [bundle._openers() for bundle in earlier]
            return oneroster.open_bundle(openers, self.table, tenant, delivered_on, before)
        if self.format == "edfi":
            return edfi.open_bundle(openers, self.table, tenant, delivered_on)
        ((name, content),) = self.contents
        if self.format == "workbook":
            named = WORKBOOK.named(_PACKED[content.packed])
            return WorkbookSheet(openers[name], self.table, tenant.profile, source_format=named, sheet=self.sheet)
        source_format = CSV.named(_PACKED[content.packed])
        return CanonicalCsv(
            openers[name],
            self.table,
            tenant.profile,
            source_format=source_format,
            max_columns=self.limits.max_columns,
        )

    def read_with(self, tenant: TenantSettings, delivered_on: dt.date) -> dict[str, str]:
        """What decides, beside its bytes, what its rows say: with other settings it has to be read and loaded again."""
        profile = tenant.profile
        meaning = {"profile": profile.fingerprint(self.table)}
        if self.is_bundle:
            meaning |= {"extra_credit": profile.extra_credit, "delivered_on": delivered_on.isoformat()}
            meaning |= {"encoding": profile.encoding, "delimiter": profile.delimiter, "timezone": tenant.timezone}
            read_by = (EDFI if self.format == "edfi" else ONEROSTER).read_by
            # What the first release of a converter read says nothing of it.
            return meaning | ({"read_by": str(read_by)} if read_by > 1 else {})
        if self.format == "workbook":
            return meaning | {"decimal": profile.decimal}
        return meaning | {"encoding": profile.encoding, "delimiter": profile.delimiter}

    def state(self) -> list[tuple[str, int, int, int, int]]:
        """What the file system says of each file its bytes lie in: another after any change, also while it is copied.

        Path, number and size, and the times of change: of the content, which a copy may keep, and of anything at all.
        """
        return [
            (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            for path in self.paths
            for stat in [path.stat()]
        ]

    def keep_in(self, kept: BinaryIO) -> None:
        """Write the bytes it came as into an empty file: several files as a zip, a damaged member as its whole zip."""
        if self.member is not None:
            try:
                self.contents[0][1].copy_to(kept, self.limits)
            except RefusedFile:
                kept.seek(0)
                kept.truncate()
                copy_plain(self.paths[0], kept)
        elif len(self.paths) == 1:
            copy_plain(self.paths[0], kept)
        else:
            with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for path in self.paths:
                    with open_plain(path) as source, archive.open(path.name, "w", force_zip64=True) as member:
                        shutil.copyfileobj(source, member, _BUFFER)

    def _openers(self, on_bytes: OnBytes | None = None) -> dict[str, Callable[[], BinaryIO]]:
        return {name: partial(content.open, self.limits, on_bytes) for name, content in self.contents}

    def _of_bytes_on_disk(self) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        for path in self.paths:
            length = path.stat().st_size
            size += length
            with open_plain(path) as stream:
                if length > self.limits.max_bytes:
                    digest.update(str(length).encode() + stream.read(_BUFFER))
                    continue
                while data := stream.read(_BUFFER):
                    digest.update(data)
        return digest.hexdigest(), size


def bundles_kept(path: Path, limits: FilesSettings) -> list[LandedFile]:
    """The bundles in a zip that `LandedFile.keep_in` has kept."""
    return [file for file in _in_zip(path, None, limits)[0] if file.is_bundle]


def landed_files(folder: Path, tenant: TenantSettings) -> tuple[dict[str, list[LandedFile]], list[str]]:
    """What a delivery's folder has for each table, in order of name, and the names of what nobody understands.

    Reads names, the directories of zips, and the beginning of XML files. Hidden files and the delivery's own manifest
    are neither.
    """
    landed: list[LandedFile] = []
    unknown: list[str] = []
    loose: dict[str, Content] = {}
    of_roster = _of_roster(_files_in(folder)[0], tenant.files)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (path.name == DELIVERY_MANIFEST and path.is_file()):
            continue
        named = None if path.name in of_roster else _name_of_ours(path.name)
        if path.is_symlink():
            unknown.append(f"{path.name}{_LINK}")
        elif not _storable(path.name):
            unknown.append(path.name)
        elif path.is_dir():
            contents, others = _files_in(path)
            bundles, left = _bundles(f"{path.name}/", contents, tenant.files)
            landed += bundles
            alone = [*left, *others] if bundles else [name for name in others if name.endswith(_LINK)]
            unknown += [f"{path.name}/{name}" for name in alone] + ([] if bundles else [path.name])
        elif not path.is_file():
            unknown.append(path.name)
        elif named is not None and named.kind == "zip":
            packed, left = _in_zip(path, named.table, tenant.files)
            landed += packed
            unknown += left
        elif named is not None and named.table is not None:
            content = Content(path, "gzip" if named.kind == "gzip" else "")
            landed.append(_of_table(path.name, named, content, tenant.files))
        elif named is not None and named.kind == "workbook":
            sheets = _sheets(path, tenant.files)
            landed += sheets
            unknown += [] if sheets else [path.name]
        else:
            loose[path.name] = Content(path)
    bundles, left = _bundles("", loose, tenant.files)
    left = _left_of_bundles("", left, loose, landed, tenant.files)
    files: dict[str, list[LandedFile]] = {}
    for file in sorted(landed + bundles, key=lambda file: file.name):
        files.setdefault(file.table, []).append(file)
    return files, _told(folder, unknown + left)


def _told(folder: Path, names: Iterable[str]) -> list[str]:
    """Names of what nobody understands as they may be told: else the place in the folder of what it is or lies in."""
    places = {name: place for place, name in enumerate(sorted(path.name for path in folder.iterdir()), start=1)}
    told = []
    for name in names:
        bare = name.removesuffix(_LINK)
        head = next((path for path in places if bare == path or bare.startswith(f"{path}/")), bare)
        told.append(shown(name_outside(bare, places.get(head, len(places)))) + name[len(bare) :])
    return sorted(told)


def _name_of_ours(name: str) -> FileName | None:
    """What the name of a file says, but for one that OneRoster has too: what it is, its neighbours say."""
    return None if name.lower() in _ONEROSTER else read_name(name)


def _left_of_bundles(
    prefix: str, left: Iterable[str], contents: Mapping[str, Content], landed: list[LandedFile], limits: FilesSettings
) -> list[str]:
    """The names that nobody understands of those that are in no bundle; files of a table are added to `landed`."""
    unknown = []
    for name in left:
        named = read_name(name)
        if named is not None and named.table is not None:
            landed.append(_of_table(prefix + name, named, contents[name], limits))
        else:
            unknown.append(name)
    return unknown


def _of_table(name: str, named: FileName, content: Content, limits: FilesSettings) -> LandedFile:
    """A file that its name says to be a table's."""
    assert named.table is not None
    file_format: Literal["csv", "workbook"] = "workbook" if named.kind == "workbook" else "csv"
    contents = ((name, content),)
    return LandedFile(name=name, table=named.table, format=file_format, contents=contents, limits=limits)


def _sheets(path: Path, limits: FilesSettings) -> list[LandedFile]:
    """The sheets of a workbook that are named after tables, each as a file."""
    return [
        LandedFile(
            name=f"{path.name}/{title}",
            table=table,
            format="workbook",
            contents=((path.name, Content(path)),),
            limits=limits,
            sheet=title,
        )
        for title, table in sheets_of_tables(path)
        if _storable(f"{path.name}/{title}")
    ]


def _files_in(folder: Path) -> tuple[dict[str, Content], list[str]]:
    """The plain files of a folder by name, and the names of what else is there."""
    contents: dict[str, Content] = {}
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_symlink():
            others.append(f"{path.name}{_LINK}")
        elif path.is_file() and _storable(f"{folder.name}/{path.name}"):
            contents[path.name] = Content(path)
        else:
            others.append(path.name)
    return contents, others


def _in_zip(path: Path, of_table: str | None, limits: FilesSettings) -> tuple[list[LandedFile], list[str]]:
    """What a zip has for the tables, and the names of its other members; one file that is refused if it is unusable.

    `of_table`: the table that the zip itself is named after.
    """

    def refused(reason: str, detail: str) -> list[LandedFile]:
        # Of an unknown table, somebody has to hear of it all the same: the first table's.
        table = of_table or RECORD_TABLES[0]
        content = ((path.name, Content(path)),)
        return [
            LandedFile(
                name=path.name,
                table=table,
                format="unreadable",
                contents=content,
                limits=limits,
                refusal=(reason, detail),
            )
        ]

    try:
        members = zip_members(path, limits)
    except RefusedFile as refusal:
        return refused(refusal.reason, refusal.detail), []
    packed: list[LandedFile] = []
    unknown: list[str] = []
    folders: dict[str, dict[str, Content]] = {}
    beside: dict[str, dict[str, Content]] = {}
    for member in members:
        prefix, _, base = member.replace("\\", "/").rpartition("/")
        beside.setdefault(prefix, {})[base] = Content(path, "zip", member)
    of_roster = {f"{prefix}/{name}" for prefix, files in beside.items() for name in _of_roster(files, limits)}
    for member in members:
        name = f"{path.name}/{member}".replace("\\", "/")
        base = PurePosixPath(name).name
        is_of_roster = f"{member.replace(chr(92), '/').rpartition('/')[0]}/{base}" in of_roster
        named = None if is_of_roster else _name_of_ours(base)
        if not _storable(name):
            unknown.append(name)
        elif named is not None and named.table is not None and named.kind in ("csv", "workbook"):
            packed.append(_of_table(name, named, Content(path, "zip", member), limits))
        else:
            folders.setdefault(name.removesuffix(base), {})[base] = Content(path, "zip", member)
    for prefix, contents in folders.items():
        bundles, left = _bundles(prefix, contents, limits)
        packed += bundles
        unknown += [prefix + name for name in _left_of_bundles(prefix, left, contents, packed, limits)]
    if packed:
        return packed, unknown
    texts = [name for name in unknown if (named := read_name(name)) is not None and named.kind == "csv"]
    if of_table and len(texts) == 1:
        prefix, _, base = texts[0].rpartition("/")
        unknown.remove(texts[0])
        named = FileName("csv", of_table)
        return [_of_table(texts[0], named, folders[f"{prefix}/"][base], limits)], unknown
    if of_table:
        return refused(
            "missing_file", "the zip holds no file named after a table; name its members such as grades.csv"
        ), []
    return [], [path.name]


def _bundles(prefix: str, contents: Mapping[str, Content], limits: FilesSettings) -> tuple[list[LandedFile], list[str]]:
    """The bundles that these files make up, which lie beside each other, and the names of those that are in none."""
    left = sorted(contents)
    bundles: list[LandedFile] = []
    roster = _roster(contents)
    if _is_roster(roster, contents, limits):
        inputs = tuple((name, contents[theirs]) for name, theirs in sorted(roster.items()))
        for table, of_table in oneroster.MAIN_FILES.items():
            main = next((name for name in of_table if name in roster), None)
            if main is not None:
                bundles.append(_part(prefix + roster[main], table, "oneroster", inputs, limits))
        if bundles:
            left = [name for name in left if name not in roster.values()]
    interchanges = {
        name: interchange
        for name in left
        if name.lower().endswith(".xml") and (interchange := _interchange(contents[name], limits)) is not None
    }
    # An Ed-Fi file that is too damaged to say which one it is must not look like a table nobody sent.
    damaged = {
        name: refusal
        for name in left
        if name.lower().endswith(".xml") and name not in interchanges and (refusal := _damage(contents[name], limits))
    }
    bundles.extend(
        LandedFile(
            name=prefix + name,
            table=RECORD_TABLES[0],
            format="unreadable",
            contents=((name, contents[name]),),
            limits=limits,
            refusal=refusal,
        )
        for name, refusal in damaged.items()
    )
    left = [name for name in left if name not in damaged]
    inputs = tuple((name, contents[name]) for name in interchanges)
    for table, wanted in edfi.INTERCHANGES_BY_TABLE.items():
        mains = [name for name, interchange in interchanges.items() if interchange in wanted]
        if not mains:
            calendar = edfi.WITHOUT_RECORDS.get(table)
            mains = [name for name, interchange in interchanges.items() if interchange == calendar]
        if mains:
            bundles.append(_part(prefix + mains[0], table, "edfi", inputs, limits))
    if any(file.format == "edfi" for file in bundles):
        left = [name for name in left if name not in interchanges]
    return bundles, left


def _roster(contents: Mapping[str, Content]) -> dict[str, str]:
    """The files with a name of OneRoster's, by that name in lower case."""
    roster: dict[str, str] = {}
    for name in sorted(contents):
        if name.lower() in _ONEROSTER:
            roster.setdefault(name.lower(), name)
    return roster


def _is_roster(roster: Mapping[str, str], contents: Mapping[str, Content], limits: FilesSettings) -> bool:
    """Whether files that lie beside each other are a OneRoster bundle."""
    return {"users.csv", "orgs.csv"} <= roster.keys() or _says_oneroster(
        contents.get(roster.get("manifest.csv", "")), limits
    )


def _of_roster(contents: Mapping[str, Content], limits: FilesSettings) -> set[str]:
    """The files of a OneRoster bundle among these: `enrollments.csv` is a name of OneRoster's and of a table."""
    roster = _roster(contents)
    return set(roster.values()) if _is_roster(roster, contents, limits) else set()


def _part(
    name: str,
    table: str,
    format: Literal["oneroster", "edfi"],
    inputs: Iterable[tuple[str, Content]],
    limits: FilesSettings,
) -> LandedFile:
    return LandedFile(name=name, table=table, format=format, contents=tuple(inputs), limits=limits)


def _says_oneroster(manifest: Content | None, limits: FilesSettings) -> bool:
    return manifest is not None and b"oneroster.version" in _beginning(manifest, limits)


def _interchange(content: Content, limits: FilesSettings) -> str | None:
    try:
        with content.open(limits) as stream:
            interchange = interchange_of(stream)
    except RefusedFile:
        return None
    return None if interchange is None else interchange.name


def _damage(content: Content, limits: FilesSettings) -> tuple[str, str] | None:
    """Reason and words when an XML file does not even begin as one."""
    try:
        with content.open(limits) as stream:
            if has_a_root(stream):
                return None
    except RefusedFile as refusal:
        return refusal.reason, refusal.detail
    return (
        "malformed_xml",
        "line 1: the file does not begin as XML, so nobody knows which table it is for; land it again",
    )


def _beginning(content: Content, limits: FilesSettings) -> bytes:
    try:
        with content.open(limits) as stream:
            return stream.read(_BUFFER)
    except RefusedFile:
        return b""


def _storable(name: str) -> bool:
    """Whether the archive and the manifest can name the file."""
    return name.isprintable() and len(name.encode()) <= _LONGEST_NAME
