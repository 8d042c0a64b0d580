"""Which container reads a file: by the ending of its name, and by how it begins."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files.characters import is_utf16
from ..files.decompression import KINDS, decompressed
from ..files.outside import compression, opened
from ._arrow import ARROW_FILE, ARROW_STREAM
from ._columns import Columnar, Kind
from ._held import Held
from ._json_array import parse_array
from ._parquet import PARQUET
from ._plain_text import parse_text
from ._tables import DELIMITERS, table_parser
from .containers import Asked, Container
from .json_lines import JsonLines, parse_lines

_PACKED = frozenset((".gz", ".bz2", ".xz", ".zst", ".zstd"))
_LINES, _JSON, _TEXT = frozenset((".jsonl", ".ndjson")), frozenset((".json",)), frozenset((".txt", ".text"))
_TABLES = {".csv": DELIMITERS, ".tsv": ("\t",), ".tab": ("\t",)}
_COLUMNS = frozenset((".parquet", ".pq", ".arrow", ".feather", ".ipc"))
_ENDINGS = _LINES | _JSON | _TEXT | _TABLES.keys() | _COLUMNS

_MAGIC: dict[bytes, Kind] = {b"PAR1": PARQUET, b"ARROW1\0\0": ARROW_FILE, b"\xff\xff\xff\xff": ARROW_STREAM}
_REFUSED: dict[str, tuple[bytes, ...]] = {
    "is an encrypted Parquet file; decrypt it first": (b"PARE",),
    "is a ZIP archive or a workbook; unpack it, or save its sheet as CSV": (b"PK\x03\x04",),
    "is an archive; unpack it": (b"7z\xbc\xaf", b"Rar!\x1a"),
    "is a workbook or a document; save it as CSV or as text": (b"\xd0\xcf\x11\xe0", b"%PDF-"),
    "is a pickle, which is code: it is never opened": tuple(bytes((0x80, version)) for version in range(2, 6)),
    "is a program": (b"\x7fELF",),
    "is an image": (b"\x89PNG", b"\xff\xd8\xff"),
    "is no file of rows; export it as Parquet, CSV or JSONL": (b"\x89HDF", b"SQLite format 3\0", b"Obj\x01"),
}
_REFUSED_ENDINGS = {
    "is a script, and nothing of a data set is executed": frozenset((".py", ".pyc", ".ipynb", ".sh", ".js")),
    "is a pickle, which is code: it is never opened": frozenset((".pkl", ".pickle", ".pt", ".pth", ".joblib")),
}
_FIRST_BYTES = 16
_SNIFFED = 2**12


def is_known(name: str) -> bool:
    """Whether the ending of a file's name says how it is read."""
    return _ending(name) in _ENDINGS


def open_file(path: Path, asked: Asked | None = None) -> Container:
    """The container that reads a file. asked: what of its records, None for all.

    Raises InputError for what none reads, which says what it is as far as that can be seen.
    """
    ending = _ending(path.name)
    with opened(path) as file:
        first = file.read(_FIRST_BYTES)
        _refuse(path, ending, first)
        packed = compression(first)
        if packed in KINDS:
            file.seek(0)
            first = decompressed(path, file, packed).read(_FIRST_BYTES)
            _refuse(path, ending, first)
    if packed is None and path.suffix.lower() in _PACKED:
        raise InputError(path, "is not compressed, as its name says it is")
    kind = next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), None)
    if kind is None and ending in _COLUMNS:
        raise InputError(path, "is neither Parquet nor Arrow, as its name says it is")
    if kind is None:
        return _open_text(path, ending, packed, asked)
    if packed:
        raise InputError(path, f"holds {kind.name}, which can only be read once it is decompressed")
    return Columnar(path, kind, asked)


def _ending(name: str) -> str:
    """The ending of a name, in small letters, without that of a compressed file."""
    name = name.lower()
    path = Path(name)
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix


def _refuse(path: Path, ending: str, first: bytes) -> None:
    for why, beginnings in _REFUSED.items():
        if first.startswith(beginnings):
            raise InputError(path, why)
    for why, endings in _REFUSED_ENDINGS.items():
        if ending in endings:
            raise InputError(path, why)


def _open_text(path: Path, ending: str, packed: str | None, asked: Asked | None) -> Container:
    if ending in _TABLES:
        return Held(path, table_parser(_TABLES[ending], asked), "row", packed)
    if ending in _TEXT:
        return Held(path, parse_text, "line", packed)
    if ending not in _LINES and _begins_array(path, packed):
        return Held(path, parse_array, "row", packed)
    return Held(path, parse_lines, "line", packed) if packed else JsonLines(path)


def _begins_array(path: Path, packed: str | None) -> bool:
    with opened(path) as file:
        data = (decompressed(path, file, packed) if packed else file).read(_SNIFFED)
    # Whoever reads it says what is no text.
    return data.decode("utf-16" if is_utf16(data) else "utf-8-sig", "ignore").lstrip().startswith("[")
