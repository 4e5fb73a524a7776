"""Zip archives of unknown origin: nothing is unpacked on the disk, and none can fill the memory."""

import contextlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import cast

from lfiw.errors import InputError, first_line, printable

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a bound on what comes out at once
HARMLESS_BYTES = 1 << 30  # an archive that unpacks to less may be packed as well as it likes
MOST_PACKED = 200  # times: drawings and labels, sorted, come to less; zeros alone, as in a zip bomb, to 1,000
CHUNK_BYTES = 1 << 20
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)  # of zipfile's reading


class Archive:
    """A zip file, opened for reading.

    Args:
        path: of the file.

    Attributes:
        members: name → entry, without the folders.

    Raises:
        InputError: it is none, two members have one name, one would lie outside of the folder that it is unpacked to or
            is packed by another method than deflate, or all together unpack to much more than real files do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (*BROKEN, ValueError) as error:
            raise InputError(
                f"{path}: not a zip archive, or only a part of one ({first_line(error)}): write or download it again"
            ) from None
        try:
            entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
            self._check(entries)
        except InputError:
            self._zip.close()
            raise
        self.members = {entry.filename: entry for entry in entries}

    def _check(self, entries: list[zipfile.ZipInfo]) -> None:
        for entry in entries:
            name = PurePosixPath(entry.filename)
            if name.is_absolute() or ".." in name.parts:
                raise InputError(f"{self.path}: {entry.filename!r} leads out of the archive: make it again")
            if entry.compress_type not in METHODS:
                raise InputError(f"{self.path}: {entry.filename!r} is packed by another method than deflate")
        unpacked, packed = sum(entry.file_size for entry in entries), self.path.stat().st_size
        if unpacked > max(HARMLESS_BYTES, MOST_PACKED * packed):
            raise InputError(
                f"{self.path}: {packed:,} bytes that unpack to {unpacked:,}, as no real file does; if it is meant, "
                "make it again without compression"
            )
        names = Counter(PurePosixPath(entry.filename) for entry in entries)
        if len(names) < len(entries):
            name, times = names.most_common(1)[0]
            raise InputError(f"{self.path}: {times} entries are called {printable(name)}: make it again")

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator["BoundedReader"]:
        """A member's content, read in bounded chunks.

        Raises:
            InputError: there is no such member, or it is damaged.
        """
        try:
            with self._zip.open(self.members[name]) as member:
                yield BoundedReader(cast(zipfile.ZipExtFile, member))
        except KeyError:
            raise InputError(f"{self.path}: there is no {name} in it") from None
        except BROKEN as error:
            raise InputError(f"{self.path}: {name} is damaged ({first_line(error)}): make it again") from None

    def read(self, name: str, most: int = HARMLESS_BYTES) -> bytes:
        """A member's whole content.

        Raises:
            InputError: as `open`, or it has more than `most` bytes.
        """
        with self.open(name) as member:
            if self.members[name].file_size > most:
                raise InputError(f"{self.path}: {name} has {self.members[name].file_size:,} bytes, at most {most:,}")
            return member.read(self.members[name].file_size)

    def close(self) -> None:
        self._zip.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BoundedReader:
    """A member's stream. `zipfile` unpacks as much at once as is asked for, whatever size the archive states."""

    def __init__(self, member: zipfile.ZipExtFile) -> None:
        self._member = member

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        parts = []
        while size > 0 and (part := self._member.read(min(size, CHUNK_BYTES))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
