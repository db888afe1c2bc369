"""Files that cannot be read, through the real job: each is named, with what is wrong, in one line.

What can be seen before anything is read ends the job there; of the other files, all are named.
"""

import bz2
import io
import json
import os
import random
import socket
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.pvalue import TaggedOutput

from beam_pipelines import sources
from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import find_units, sessionize
from beam_pipelines.rules.checks import check_listens
from beam_pipelines.rules.spill import Spill
from beam_pipelines.sources.files import find_files
from beam_pipelines.transforms.read import FAILURES, ReadListens
from cosernn_tf.errors import UserError
from cosernn_tf.workspace import open_sessions
from tests.entry_points import Result, run_each

from .files import write_bytes, write_csv, write_json_lines, write_parquet
from .logs import random_rows

HEADER = "user_id,track_id,timestamp\n"
LINE = "u,t,1554076800\n"
LOG = (HEADER + LINE * 1_000).encode()
JSON_LINE = '{"user_id": "u", "track_id": "t", "timestamp": 1554076800}\n'


def row(number: float) -> str:
    return json.dumps({"user_id": "u", "track_id": str(number), "timestamp": 5}) + "\n"


def compressed(name: str, data: bytes, folder: Path) -> bytes:
    return write_bytes(folder / name, data).read_bytes()


def parquet(**options) -> bytes:
    rows = pa.Table.from_pylist(random_rows(0))
    sink = io.BytesIO()
    pq.write_table(rows.select(["user_id", "track_id", "timestamp"]), sink, **options)
    return sink.getvalue()


def archive() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("log.csv", LOG)
    return sink.getvalue()


def flipped_bit(data: bytes, place: float) -> bytes:
    """One bit is another at a place, from 0 to 1."""
    byte = int(place * len(data))
    return data[:byte] + bytes([data[byte] ^ 4]) + data[byte + 1 :]


def zeroed(data: bytes, place: float) -> bytes:
    """A Parquet file with a hundred zeros at a place in its pages, from 0 to 1."""
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    start = 4 + int(place * (footer - 104))
    return data[:start] + bytes(100) + data[start + 100 :]


# Seen before anything is read --------------------------------------------------------------------

AT_ONCE: dict[str, tuple[bytes, str]] = {
    "utf16.csv": (LOG.decode().encode("utf-16"), "is UTF-16 text: write it as UTF-8 (iconv"),
    "utf16.tsv": (b"\xfe\xff" + LOG.decode().encode("utf-16-be"), "is UTF-16 text"),
    "utf16.jsonl": (JSON_LINE.encode("utf-16"), "is UTF-16 text"),
    "archive.csv": (archive(), "is a ZIP archive or a spreadsheet: unpack it, or save it as CSV"),
    "xz.jsonl": (b"\xfd7zXZ\0\0\4", "is compressed by xz, which is not read: use gzip, zstd or"),
    "parquet.csv": (parquet(), "is a Parquet file: its name must end in .parquet"),
    "text.parquet": (LOG, "is damaged or no Parquet file: Parquet magic bytes not found"),
    "cut.parquet": (parquet()[:-40], "is damaged or no Parquet file"),
    "short.parquet": (b"PAR1", "is damaged or no Parquet file"),
    "zeros.parquet": (bytes(10_000), "is damaged or no Parquet file"),
    "text.csv.gz": (LOG, "is damaged: zlib inflate failed: incorrect header check"),
    "text.csv.zst": (LOG, "is damaged: ZSTD decompress failed"),
    "text.json.bz2": (JSON_LINE.encode(), "is damaged: bz2 decompress failed"),
    "half.csv.bz2": (bz2.compress(LOG)[:50], "is damaged: Truncated compressed stream"),
    "flipped.csv.bz2": (flipped_bit(bz2.compress(LOG), 0.5), "is damaged: bz2 decompress failed"),
    "list.json": (f"\n [{JSON_LINE}, {JSON_LINE}]".encode(), "is a list: write it as JSON Lines"),
    "blank_first.csv": (b"\n" + LOG, "begins with an empty line: expected a header"),
    "no_header.csv": (LINE.encode(), "has none of the columns of a canonical log, which needs"),
    "zeros.csv": (bytes(200_000), "does not begin with a header: field larger than"),
    "quote_in_header.csv": (b'"' + LOG * 100, "has none of the columns of a canonical log"),
    "no_time.csv": (b"user_id,track_id,time\nu,t,5\n", "has no column timestamp (it has user_id"),
    "unknown.csv": (b"mood," + LOG, "has the unknown column mood"),
    "unnamed.csv": (b"," + LOG, "has a column without a name, number 1: leave it out (pandas:"),
    "twice.csv": (b"user_id," + LOG, "has the column user_id more than once"),
    "other.xlsx": (LOG, "the ending '.xlsx' is none of .parquet, "),
    "empty.csv": (b"", "is empty: there is nothing to read"),
    "blank.jsonl": (b"", "is empty: there is nothing to read"),
}


def refusal(listens: Path, tmp_path: Path) -> str:
    config = SessionizeConfig(listens=(str(listens),), output=tmp_path / "out" / "sessions")
    with pytest.raises(UserError) as error:
        sessionize(config)
    assert not config.output.parent.exists(), "it was refused later than it could have been"
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert str(tmp_path) in message
    return message


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_file_that_is_no_log_is_named_before_anything_is_read(tmp_path, name):
    content, what = AT_ONCE[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert what in refusal(path, tmp_path)
    write_bytes(tmp_path / "log" / "good.csv", LOG)
    if content:
        # Beside good files, as part of a folder.
        path.rename(tmp_path / "log" / name)
        if not name.endswith("xlsx"):
            assert what in refusal(tmp_path / "log", tmp_path)


# Seen when they are read -------------------------------------------------------------------------


def write_unreadable(folder: Path) -> dict[str, str]:
    """By file, the message without the file's path."""
    expected = {}

    def write(name: str, data: bytes, what: str) -> None:
        (folder / name).write_bytes(data)
        expected[name] = what

    folder.mkdir()
    rng = random.Random(0)
    text = (HEADER + "".join(f"u{rng.random()},t,1554076800\n" for _ in range(20_000))).encode()
    objects = "".join(row(rng.random()) for _ in range(5_000)).encode()
    for suffix in ("gz", "zst", "bz2"):
        data = compressed(f"x.csv.{suffix}", text, folder.parent)
        write(f"cut.csv.{suffix}", data[:-1], "is damaged or no delimited text: Truncated")
        if suffix != "bz2":  # of which all is one block
            half = data[: len(data) // 2]
            write(f"half.csv.{suffix}", half, "is damaged or no delimited text: Truncated")
        more = data + b"more"
        write(f"more.csv.{suffix}", more, "is damaged or no delimited text")
        data = compressed(f"x.json.{suffix}", objects, folder.parent)
        write(f"cut.json.{suffix}", data[:-1], "is damaged: Truncated compressed stream")
    data = flipped_bit(compressed("x.csv.gz", text, folder.parent), 0.99)
    write("flipped.csv.gz", data, "is damaged or no delimited text")
    write(
        "open_quote.csv", text + b'u,"t,5\n' + text, ", line 20,002: a quoted field is never closed"
    )
    write("early_quote.csv", text + b'u,"t" live,5\n', ", line 20,002: a quoted field ends before")
    write("two_quotes.csv", text + b'u,"t,5\nv,"w,6\n', ", line 20,003: a quoted field ends before")
    not_utf8 = text + b'"u",t,5\n\xff\n'
    write("ragged.csv", not_utf8, "has a row that is no UTF-8 and has another number of fields")
    write(
        "long.csv", text + b"u,t," + b"5" * 80_000_000, "has a row of more than 32 MiB, after row"
    )
    write("other.csv", (HEADER + LINE).encode() + b"x\n" * 2**18, "262,144 rows from row 2 on have")
    write("unknown.jsonl", JSON_LINE.encode() + b'{"user_id": "u", "mood": 1}\n', "has the unknown")
    for name, damage in {"zeroed": zeroed, "flipped": flipped_bit}.items():
        for compression in ("none", "snappy"):
            data = damage(parquet(write_page_checksum=True, compression=compression), 0.3)
            write(f"{name}_{compression}.parquet", data, "is damaged in row group 0")
    plain = parquet(compression="none", use_dictionary=False)
    write(
        "zeroed_times.parquet", zeroed(plain, 0.9), "is damaged in row group 0: values of timestamp"
    )
    plain = parquet(compression="none")
    write("zeroed_ids.parquet", zeroed(plain, 0.0), "is damaged in row group 0")
    return expected


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory) -> tuple[Path, dict[str, str], Result]:
    root = tmp_path_factory.mktemp("unreadable")
    expected = write_unreadable(root / "log")
    (root / "good.csv").write_bytes(LOG)
    sessionize(SessionizeConfig(listens=(str(root / "good.csv"),), output=root / "ws/sessions"))
    before = open_sessions(root / "ws/sessions").manifest
    (result,) = run_each(
        "beam_pipelines.sessionize",
        [["--workspace=ws", "--listens=good.csv,log"]],
        folder=root,
        output=root / "printed",
        preload=["beam_pipelines.job"],
    )
    assert open_sessions(root / "ws/sessions").manifest == before
    assert [path.name for path in (root / "ws").iterdir()] == ["sessions"]
    return root, expected, result


def test_the_error_is_one_line_and_says_how_many_there_are(unreadable):
    _, expected, result = unreadable
    assert result.code == 2, result.stderr
    assert result.error.endswith(f"(and {len(expected) - 1} more like this, listed above)")


def test_every_file_that_cannot_be_read_is_named(unreadable):
    _, expected, result = unreadable
    lines = [line for line in result.stderr.splitlines() if "log/" in line and "Read" not in line]
    named = {}
    for line in lines:
        _, _, message = line.partition("log/")
        name = next(name for name in expected if message.startswith(name))
        named[name] = message.removeprefix(name).strip()
    assert set(named) == set(expected)
    wrong = {
        name: named[name] for name, what in expected.items() if what.strip() not in named[name]
    }
    assert wrong == {}


# What is no file, or no longer the same ----------------------------------------------------------


@pytest.fixture
def log(tmp_path) -> Path:
    write_bytes(tmp_path / "log" / "a.csv", LOG)
    return tmp_path / "log"


def test_a_broken_link_is_named(log, tmp_path):
    (log / "b.csv").symlink_to(tmp_path / "gone.csv")
    assert f"{log}/b.csv is a broken link" in refusal(log, tmp_path)
    assert f"{log}/b.csv is a broken link" in refusal(log / "b.csv", tmp_path)
    assert f"{log}/b.csv is a broken link" in refusal(log / "*.csv", tmp_path)


def test_a_pipe_or_a_socket_is_named(log, tmp_path):
    os.mkfifo(log / "b.jsonl")
    assert f"{log}/b.jsonl is no regular file" in refusal(log, tmp_path)
    assert f"{log}/b.jsonl is no regular file" in refusal(log / "b.jsonl", tmp_path)
    (log / "b.jsonl").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(log / "c.parquet"))
        assert f"{log}/c.parquet is no regular file" in refusal(log, tmp_path)


def test_what_has_no_name_of_a_log_may_be_anything(log):
    (log / "notes.txt").symlink_to("gone")
    os.mkfifo(log / "pipe")
    assert find_files([str(log)], [".csv"], flag="--listens") == [log / "a.csv"]


def test_a_folder_with_the_name_of_a_file_stands_for_its_files(log, tmp_path):
    part = write_parquet(log / "b.parquet" / "part-0.parquet", random_rows(0))
    assert find_files([f"{log}/*.parquet"], [".parquet"], flag="--listens") == [part]
    assert find_files([f"{log}/*"], [".parquet", ".csv"], flag="") == [log / "a.csv", part]
    (log / "c.csv").mkdir()
    assert "has no file that ends in .parquet" in refusal(log / "c.csv", tmp_path)


def test_links_are_followed_and_do_not_lead_in_circles(log, tmp_path):
    write_bytes(tmp_path / "disk" / "b.csv", LOG)
    (log / "2019").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(log)
    (log / "itself").symlink_to(".")
    found = find_files([str(log)], [".csv"], flag="--listens")
    assert [path.resolve() for path in found] == [tmp_path / "disk/b.csv", log / "a.csv"]


def test_a_name_that_is_no_text_is_shown(log, tmp_path):
    (log / os.fsdecode(b"b\xff.csv")).write_bytes(LOG)
    assert f"the name of {log}/b\\xff.csv is not UTF-8: rename it" in refusal(log, tmp_path)


@pytest.fixture
def nobody():
    """Root may read everything: files are then read as another user."""
    if os.geteuid() == 0:
        os.seteuid(65_534)
        yield
        os.seteuid(0)
    else:
        yield


@pytest.fixture
def open_log(nobody):
    """A log of the user who reads it, below no folder of anyone else's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        yield write_bytes(Path(root) / "log" / "a.csv", LOG).parent


def test_what_may_not_be_read_is_named(open_log):
    for name in ("b.csv", "b.jsonl", "b.parquet"):
        path = write_bytes(open_log / name, LOG)
        path.chmod(0)
        assert f"{path} may not be read: permission denied" in refusal(path, open_log.parent)
        path.unlink()
    folder = open_log / "2019"
    folder.mkdir()
    folder.chmod(0)
    assert f"{folder} may not be listed: Permission denied" in refusal(open_log, open_log.parent)
    folder.chmod(0o700)


def failures(log: Path, change: Callable[[], object]) -> list[str]:
    """What reading says of files that change after they were found."""
    source = sources.create("canonical")
    units, _ = find_units(source, [str(log)])
    change()
    read = [found for unit in units for found in ReadListens(source, 2, Spill()).process(unit)]
    return [
        found.value for found in read if isinstance(found, TaggedOutput) and found.tag == FAILURES
    ]


@pytest.mark.parametrize("name", ["b.csv", "b.jsonl", "b.parquet"])
def test_a_file_that_vanishes_or_changes_is_named(tmp_path, name):
    write = {"csv": write_csv, "jsonl": write_json_lines, "parquet": write_parquet}
    path = write[name.partition(".")[2]](tmp_path / "log" / name, random_rows(0)[:9])
    data = path.read_bytes()
    assert failures(path.parent, lambda: None) == []
    assert failures(path.parent, path.unlink) == [
        f"{path} is no longer there: it was when the job began"
    ]
    path.write_bytes(data)
    changed = f"{path} has changed since the job began: run it when the log is complete"
    assert failures(path.parent, lambda: path.write_bytes(data + data)) == [changed]
    path.write_bytes(data)
    assert failures(path.parent, lambda: os.utime(path, ns=(5, 5))) == [changed]


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    path = write_bytes(tmp_path / "log.csv", LOG)
    source = sources.create("canonical")
    (unit,), _ = find_units(source, [str(path)])
    reading = ReadListens(source, 2, Spill()).process(unit)
    next(reading)
    with path.open("ab") as file:
        file.write(LINE.encode())
    assert [found.value for found in reading if getattr(found, "tag", "") == FAILURES] == [
        f"{path} has changed since the job began: run it when the log is complete"
    ]


# Whatever else it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.csv.gz", "a.csv.zst"]
)
def test_damage_of_any_kind_is_an_error_of_the_file_or_of_rows(tmp_path, name):
    """Bytes changed, cut out and put in at random: never another error, never rows uncounted."""
    rng = random.Random(name)
    rows = random_rows(1, users=4, listens=20)
    path = tmp_path / name
    writers = {"a.jsonl": write_json_lines, "a.parquet": write_parquet}
    writers.get(name, write_csv)(path, rows)
    whole = path.read_bytes()
    source = sources.create("canonical")
    outcomes: Counter[str] = Counter()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 5])):
            place, size = rng.randrange(len(data)), rng.choice([1, 1, 2, 40])
            data[place : place + size] = rng.randbytes(rng.choice([0, 1, size]))
        path.write_bytes(bytes(data))
        try:
            for unit in source.units(path):
                for raw in source.read(unit):
                    checked = check_listens(raw)
                    checked.clean.validate(full=True)
                    assert checked.clean.num_rows + len(checked.rejected) == len(raw.rows) + len(
                        raw.malformed
                    )
                    json.dumps([row.to_dict(name) for row in checked.rejected])
            outcomes["read"] += 1
        except UserError as error:
            outcomes["refused"] += str(path) in str(error)
    assert outcomes.total() == 150
    assert outcomes["refused"] > 5
