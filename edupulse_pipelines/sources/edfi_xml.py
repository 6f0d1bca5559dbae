"""Reading Ed-Fi interchange files: which interchange a file is, and its top-level elements one by one, with lines.

A file is streamed, so that memory stays bounded whatever its size. A document type declaration is refused: without one
there is no entity that could be expanded or fetched. What the elements mean is known by `edfi`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple
from xml.parsers import expat

from edupulse_pipelines.sources.blanks import trimmed
from edupulse_pipelines.sources.file_names import name_outside
from edupulse_pipelines.sources.records import RefusedFile

Open = Callable[[], BinaryIO]

_NAMESPACE = re.compile(r"https?://(?:www\.)?ed-fi\.org/(?P<version>.{1,30})")
_INTERCHANGE = "Interchange"
_BEGINNING = 1 << 12
_LONGEST_PROLOG = 1 << 16
_CHUNK = 1 << 18
_LONGEST_RECORD = 1 << 20  # characters of one top-level element; what is longer is no record but an attack
_LONGEST_TOKEN = 4 << 20  # bytes of one tag or comment: the parser begins it anew with every chunk until it has its end
_LONGEST_NAME = 1000  # characters of an element's name with its namespace, which is given with each of its elements
_MOST_ELEMENTS = 20_000  # within one top-level element


class Interchange(NamedTuple):
    """What an Ed-Fi file is: the interchange's name without `Interchange`, and the version its namespace names."""

    name: str
    version: str


def interchange_of(stream: BinaryIO) -> Interchange | None:
    """The interchange whose file this is, by its root element; None for everything else. Reads the beginning only."""
    parser = expat.ParserCreate(namespace_separator=" ")

    def root(name: str, _attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        known = _NAMESPACE.fullmatch(namespace)
        raise _Found(local, known["version"] if known else None)

    def doctype(name: str, *_: object) -> None:
        # It names the root element. Such a file is refused when it is read: here it must not pass for any other file.
        raise _Found(name, "with a document type declaration")

    parser.StartElementHandler = root
    parser.StartDoctypeDeclHandler = doctype
    try:
        for _ in range(_LONGEST_PROLOG // _BEGINNING):
            data = stream.read(_BEGINNING)
            parser.Parse(data, not data)
            if not data:
                break
    except _Found as found:
        return found.interchange
    except (expat.ExpatError, ValueError):  # ValueError: an encoding that nobody knows
        pass
    return None


def has_a_root(stream: BinaryIO) -> bool:
    """Whether the file begins as an XML document of any kind; False for an empty or damaged one."""
    parser = expat.ParserCreate(namespace_separator=" ")

    def begun(name: str, *_: object) -> None:
        raise _Found(name, None)

    parser.StartElementHandler = begun
    parser.StartDoctypeDeclHandler = begun
    try:
        parser.Parse(stream.read(_LONGEST_PROLOG), True)
    except _Found:
        return True
    except (expat.ExpatError, ValueError):
        pass
    return False


class _Found(Exception):
    """The root element has been seen; `interchange` is None when it is none of Ed-Fi's."""

    def __init__(self, name: str, version: str | None) -> None:
        self.interchange = (
            Interchange(name.removeprefix(_INTERCHANGE), version)
            if name.startswith(_INTERCHANGE) and version is not None
            else None
        )


class Element:
    """One element without its namespace: attributes, own text, children, and the line it begins on."""

    __slots__ = ("attributes", "children", "line", "name", "own")

    def __init__(self, name: str, attributes: dict[str, str], line: int) -> None:
        self.name = name
        self.attributes = attributes
        self.line = line
        self.own = ""
        self.children: Sequence[Element] = ()  # most have none, and a list for each of them would cost most of the time

    def all(self, *path: str) -> list[Element]:
        """The elements at the path."""
        elements = [self]
        for step in path:
            elements = [child for element in elements for child in element.children if child.name == step]
        return elements

    def text(self, *path: str) -> str | None:
        """The text at the path (its first that is not empty); None when there is none."""
        return next((text for text in self.texts(*path)), None)

    def texts(self, *path: str) -> list[str]:
        """Every text at the path that is not empty."""
        return [text for element in self.all(*path) if (text := trimmed(element.own))]

    def code(self, *path: str) -> str | None:
        """The descriptor at the path, shortened to its code value."""
        return next(iter(self.codes(*path)), None)

    def codes(self, *path: str) -> list[str]:
        """Every descriptor at the path, shortened to its code value."""
        return [code for text in self.texts(*path) if (code := text.rpartition("#")[2].strip())]

    def reference(self, *path: str) -> str | None:
        """The XML id that the element at the path refers to."""
        return next((element.attributes["ref"] for element in self.all(*path) if "ref" in element.attributes), None)

    @property
    def identifier(self) -> str | None:
        """The element's own XML id."""
        return self.attributes.get("id")

    @property
    def student(self) -> str | None:
        """The number of the student the element refers to."""
        return self.text("StudentReference", "StudentIdentity", "StudentUniqueId")

    @property
    def school(self) -> str | None:
        """The id of the school the element refers to (and not one of those its other references name)."""
        return self.text("SchoolReference", "SchoolIdentity", "SchoolId")


@dataclass(frozen=True)
class File:
    """One interchange file of the bundle."""

    name: str
    interchange: Interchange
    open: Open
    number: int
    """Its place among the files of the bundle, in the order of their names."""

    @property
    def told(self) -> str:
        """Its name in messages; its number and what it is, when the name may hold anything."""
        told = name_outside(self.name, self.number)
        return told if told == self.name else f"{told} (Interchange{self.interchange.name})"

    def elements(
        self, *names: str, others: Counter[str] | None = None, without: frozenset[str] = frozenset()
    ) -> Reading:
        """The top-level elements of these names; the names of all others are counted in `others`.

        `without`: names of elements within them that nobody looks at, which makes reading faster.
        """
        return Reading(self, frozenset(names), others, without)


class Reading:
    """One pass over a file. `lines` is the number of its lines once it has been read."""

    def __init__(
        self, file: File, wanted: frozenset[str], others: Counter[str] | None, without: frozenset[str]
    ) -> None:
        self._file = file
        self._wanted = wanted
        self._others = others
        self._without = without
        self._namespace = ""
        self._depth = 0
        self._passed_over = 0  # depth of the element whose inside is not looked at
        self._open: list[Element] = []
        self._done: list[Element] = []
        self._characters = 0
        self._count = 0
        self.lines = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._forbid
        self._parser.EntityDeclHandler = self._forbid

    def __iter__(self) -> Iterator[Element]:
        given = 0
        try:
            with self._file.open() as stream:
                while data := stream.read(_CHUNK):
                    self._parser.Parse(data, False)
                    given += len(data)
                    if given - self._parser.CurrentByteIndex > _LONGEST_TOKEN:
                        raise self._refused("malformed_xml", f"more than {_LONGEST_TOKEN:,} bytes in one tag")
                    yield from self._done
                    self._done.clear()
                self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            # The parser's own words, which name no content.
            raise self._refused("malformed_xml", expat.ErrorString(error.code), error.lineno) from None
        except ValueError:
            raise self._refused("malformed_xml", "its encoding is not known") from None
        yield from self._done
        self.lines = self._parser.CurrentLineNumber

    def _refused(self, reason: str, words: str, line: int | None = None) -> RefusedFile:
        return RefusedFile(
            reason, f"{self._file.told}: line {line if line is not None else self._parser.CurrentLineNumber}: {words}"
        )

    def _forbid(self, *_: object) -> None:
        raise self._refused("forbidden_xml", "a document type declaration (DTD), which is never read; remove it")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(name) > _LONGEST_NAME:
            raise self._refused("malformed_xml", f"a name of more than {_LONGEST_NAME:,} characters")
        self._depth += 1
        if self._depth == 1:
            self._namespace = name.rpartition(" ")[0] + " "
            return
        if self._passed_over:
            return
        # An element of another namespace is an extension: it keeps its whole name, which nobody looks for.
        local = name.removeprefix(self._namespace)
        if self._open:
            if local in self._without:
                self._passed_over = self._depth
                return
            element = Element(local, attributes, 0)
            parent = self._open[-1]
            if isinstance(parent.children, list):
                parent.children.append(element)
            else:
                parent.children = [element]
            self._open.append(element)
            self._count += 1
            if self._count > _MOST_ELEMENTS:
                raise self._refused("malformed_xml", f"more than {_MOST_ELEMENTS:,} elements in one entry")
            self._add(attributes)
        elif self._depth == 2:
            if local in self._wanted:
                self._open.append(Element(local, attributes, self._parser.CurrentLineNumber))
                self._characters = self._count = 0
                self._add(attributes)
            elif self._others is not None:
                self._others[local.rpartition(" ")[2]] += 1

    def _end(self, _name: str) -> None:
        if self._passed_over:
            if self._passed_over == self._depth:
                self._passed_over = 0
        elif self._open:
            element = self._open.pop()
            if not self._open:
                self._done.append(element)
        self._depth -= 1

    def _data(self, text: str) -> None:
        if self._open and not self._passed_over:
            self._open[-1].own += text
            self._grow(len(text))

    def _add(self, attributes: Mapping[str, str]) -> None:
        if attributes:
            self._grow(sum(len(name) + len(value) for name, value in attributes.items()))

    def _grow(self, characters: int) -> None:
        self._characters += characters
        if self._characters > _LONGEST_RECORD:
            raise self._refused("malformed_xml", f"more than {_LONGEST_RECORD:,} characters in one entry")


class Bundle:
    """The Ed-Fi files of a bundle, in the order of their names; what is none of them is not looked at again."""

    def __init__(self, files: Mapping[str, Open]) -> None:
        self._files: list[File] = []
        for number, name in enumerate(sorted(files), start=1):
            with files[name]() as stream:
                interchange = interchange_of(stream)
            if interchange is not None:
                self._files.append(File(name, interchange, files[name], number))

    def files(self, *interchanges: str) -> list[File]:
        """The files of these interchanges."""
        return [file for file in self._files if file.interchange.name in interchanges]

    @property
    def version(self) -> str:
        """The newest version that a file of the bundle names, `5.2.0` as `5.2`."""
        newest = max((file.interchange.version for file in self._files), default="")
        return re.sub(r"^([0-9]+\.[0-9]+)\.0$", r"\1", newest)
