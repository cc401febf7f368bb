"""External sort: equal to sorted(), stable, within its memory, and nothing left behind however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from principal_kit.core.errors import CapacityError, CorruptionError, InvalidArgument, KitError
from principal_kit.course.workloads import records as gensort
from principal_kit.streaming import (
    OVERHEAD_BYTES,
    BlockBudget,
    FixedWidth,
    LengthPrefixed,
    Lines,
    SortObserver,
    external_sort,
    spill,
)
from principal_kit.streaming.sort_plan import merge_plan

COMPRESSIONS = st.sampled_from([None, *spill.COMPRESSIONS])


def run(data: bytes, key, limit, compression=None, **options):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").write_bytes(data)
        stats = external_sort(folder / "in", folder / "out", key, limit, compression, **options)
        assert sorted(os.listdir(folder)) == ["in", "out"]
        return (folder / "out").read_bytes(), stats


# ── equals sorted() ──────────────────────────────────────────────────────────────────────────────
@st.composite
def fixed(draw):
    """Records of few distinct bytes, so that keys tie in all their length or in part of it, and a key in them."""
    size = draw(st.integers(1, 24))
    start = draw(st.integers(0, size - 1))
    stop = draw(st.integers(start + 1, size))
    letters = draw(st.sampled_from([b"\0\1", b"\0\xff", bytes(range(256))]))
    rows = draw(st.lists(st.lists(st.sampled_from(letters), min_size=size, max_size=size).map(bytes), max_size=60))
    return rows, size, slice(start, stop)


@given(fixed(), st.integers(0, 3000), COMPRESSIONS, st.integers(1, 3))
def test_fixed_width_equals_sorted_at_any_limit(drawn, extra, compression, threads):
    rows, size, key = drawn
    got, stats = run(b"".join(rows), key, size + extra, compression, records=FixedWidth(size), threads=threads)
    assert got == b"".join(sorted(rows, key=lambda row: row[key]))  # sorted() is stable: so is this
    assert stats.records == len(rows)


@given(
    st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=60),
    st.integers(100, 5000), COMPRESSIONS, st.sampled_from([None, len, lambda line: line[::-1], lambda line: line[:1]]),
)  # fmt: skip
def test_lines_equal_sorted_at_any_limit(lines, limit, compression, key):
    got, _ = run(b"".join(line + b"\n" for line in lines), key, limit, compression, records=Lines())
    assert got == b"".join(line + b"\n" for line in sorted(lines, key=key))


@given(st.lists(st.binary(max_size=20), max_size=60), st.integers(160, 5000), COMPRESSIONS)
def test_length_prefixed_equal_sorted_at_any_limit(rows, limit, compression):
    framed = LengthPrefixed()
    got, stats = run(b"".join(map(framed.encode, rows)), len, limit, compression, records=framed)
    assert got == b"".join(map(framed.encode, sorted(rows, key=len)))
    assert stats.records == len(rows)


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("keys", gensort.KEYS)
def test_every_distribution_through_several_passes(tmp_path, keys, compression):
    gensort.write(tmp_path / "in", 20_000, seed=3, keys=keys)
    stats = external_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, 40_000, compression)
    before, after = gensort.summary(tmp_path / "in"), gensort.summary(tmp_path / "out")
    assert stats.passes > 2
    assert stats.runs > stats.merge_width > 2
    assert after.in_order
    assert after.stable
    assert (before.records, before.checksum) == (after.records, after.checksum)


def test_a_function_sorts_fixed_records_as_a_slice_does(tmp_path):
    gensort.write(tmp_path / "in", 5_000, seed=3, keys="duplicates")
    external_sort(tmp_path / "in", tmp_path / "a", slice(0, 10), 100_000)
    external_sort(tmp_path / "in", tmp_path / "b", lambda r: r[:10], 100_000, records=FixedWidth(100))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_last_line_may_lack_its_newline():
    assert run(b"b\na", None, 1000)[0] == b"a\nb\n"
    assert run(b"", None, 1000)[0] == b""
    assert run(b"", slice(0, 10), 1000)[0] == b""


def test_same_as_gnu_sort(tmp_path):
    lines = [bytes(np.random.default_rng(n).integers(33, 127, n % 30, dtype=np.uint8)) for n in range(3000)]
    (tmp_path / "in").write_bytes(b"\n".join(lines))
    stats = external_sort(tmp_path / "in", tmp_path / "out", None, 50_000)
    gnu = subprocess.run(["sort", tmp_path / "in"], env={"LC_ALL": "C"}, capture_output=True, check=True)
    assert stats.runs > 5
    assert (tmp_path / "out").read_bytes() == gnu.stdout


# ── the plan and what was counted ────────────────────────────────────────────────────────────────
@given(st.integers(0, 5000), st.integers(2, 90))
def test_a_plan_merges_everything_in_the_fewest_passes(runs, width_max):
    plan = merge_plan(runs, width_max)
    assert plan.width <= width_max
    left = runs
    for _ in range(plan.passes):
        left = -(-left // plan.width)
    assert left == min(runs, 1)
    assert runs == 0 or plan.passes == 1 or width_max ** (plan.passes - 1) < runs


@pytest.mark.parametrize("limit", [4_000, 40_000, 400_000, 4_000_000])
def test_the_plan_foretells_the_sort(tmp_path, limit):
    gensort.write(tmp_path / "in", 10_000, seed=5)
    plan = BlockBudget(100, limit).plan(1_000_000)
    stats = external_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, limit)
    assert (stats.runs, stats.passes, stats.merge_width) == (plan.runs, plan.passes, plan.width)
    assert stats.bytes_read + stats.bytes_written == plan.bytes_moved(1_000_000)
    assert stats.bytes_spilled == 1_000_000 * plan.passes


def test_compression_spills_less_of_what_can_be_compressed(tmp_path):
    gensort.write(tmp_path / "in", 20_000, seed=3, payload="text")
    plain, packed = (
        external_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, 500_000, how).bytes_spilled
        for how in (None, "zstd")
    )
    assert packed < plain / 2


# ── bad input ────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def old(tmp_path):
    """A file to sort and an older output, which has to stay as it was."""
    gensort.write(tmp_path / "in", 1000, seed=1)
    (tmp_path / "out").write_text("old")
    yield tmp_path
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    assert (tmp_path / "out").read_text() == "old"


@pytest.mark.parametrize("options", [
    {"memory_limit": 99}, {"memory_limit": 0}, {"memory_limit": -1}, {"memory_limit": 1e6}, {"memory_limit": True},
    {"compression": "rar"}, {"threads": 0}, {"key": slice(0, 101)}, {"key": slice(5, 5)}, {"key": slice(0, 10, 2)},
    {"key": 7}, {"records": Lines()}, {"path_in": "missing"}, {"path_in": "."}, {"path_in": "/dev/null"},
    {"path_out": "missing/out"}, {"path_out": "/dev/null"}, {"path_out": "."}, {"temp_dir": "missing"},
])  # fmt: skip
def test_bad_arguments_change_nothing(old, options, monkeypatch):
    monkeypatch.chdir(old)
    given = {"path_in": "in", "path_out": "out", "key": gensort.KEY, "memory_limit": 20_000} | options
    with pytest.raises(InvalidArgument):
        external_sort(**given)


@pytest.mark.parametrize("form, data", [
    (FixedWidth(100), b"x" * 250), (LengthPrefixed(), b"\2\0\0\0ab\2\0"), (LengthPrefixed(), b"\2\0\0\0ab\2\0\0\0a"),
])  # fmt: skip
@pytest.mark.parametrize("key", [None, slice(0, 10)])
def test_a_record_cut_off(old, form, data, key):
    if key is not None and not isinstance(form, FixedWidth):
        key = len
    (old / "cut").write_bytes(data)
    with pytest.raises(CorruptionError, match="cut off"):
        external_sort(old / "cut", old / "out", key, 20_000, records=form)
    (old / "cut").unlink()


def test_a_limit_below_one_record(old):
    (old / "long").write_bytes(b"short\n" + b"x" * 5000 + b"\n")
    with pytest.raises(InvalidArgument, match=r"record 1 .*memory_limit"):
        external_sort(old / "long", old / "out", None, 4000)
    (old / "long").write_bytes(LengthPrefixed().encode(b"x" * 5000))
    with pytest.raises(InvalidArgument, match=r"record 0 .*memory_limit"):
        external_sort(old / "long", old / "out", None, 4000, records=LengthPrefixed())
    with pytest.raises(InvalidArgument, match="so large that a merge"):
        BlockBudget(20 << 20, 30 << 20)
    with pytest.raises(InvalidArgument, match="less than one record"):
        external_sort(old / "long", old / "out", slice(0, 10), 4000, records=FixedWidth(5004))
    (old / "long").unlink()


def test_an_input_that_shrinks(old, monkeypatch):
    original = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: _longer(original(fd)))
    with pytest.raises(CorruptionError, match="shorter"):
        external_sort(old / "in", old / "out", gensort.KEY, 20_000)


def _longer(found):
    return os.stat_result((*found[:6], found.st_size + 100, *found[7:]))


def test_an_input_that_cannot_be_read(old, monkeypatch):
    def fails(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fails)
    with pytest.raises(CorruptionError, match="the input cannot be read"):
        external_sort(old / "in", old / "out", gensort.KEY, 20_000)


@pytest.mark.parametrize("compression", [None, "lz4", "zlib"])
@pytest.mark.parametrize("key", [gensort.KEY, lambda r: r[:10]])
def test_a_spilled_block_that_changed_is_never_read_as_data(old, monkeypatch, compression, key):
    original = spill.Spill.put

    def flips(self, offset, block):
        extent = original(self, offset, block)
        os.pwrite(self._file.fileno(), b"\x55\xaa", extent.offset + extent.stored // 2)
        return extent

    monkeypatch.setattr(spill.Spill, "put", flips)
    with pytest.raises(CorruptionError, match="changed after"):
        external_sort(old / "in", old / "out", key, 20_000, compression, records=FixedWidth(100))


def test_errors_of_the_key_function_come_through(old):
    for key, error in ((lambda r: 1 // 0, ZeroDivisionError), (lambda r: r if r[0] % 2 else 1, TypeError)):
        with pytest.raises(error):
            external_sort(old / "in", old / "out", key, 20_000, records=FixedWidth(100))


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("key", [gensort.KEY, lambda r: r[:10]])
@pytest.mark.parametrize("writes", [0, 3, 15])
def test_no_room_left(old, monkeypatch, key, writes):
    left, original = [writes], os.pwrite

    def full(fd, data, offset):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return original(fd, data[: max(1, len(data) // 2)], offset)  # a write may be short, too

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(CapacityError, match="no room for"):
        external_sort(old / "in", old / "out", key, 20_000, records=FixedWidth(100))


def test_short_writes_are_continued(tmp_path, monkeypatch):
    original = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: original(fd, data[: max(1, len(data) // 3)], at))
    gensort.write(tmp_path / "in", 1000, seed=1)
    external_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, 20_000)
    assert gensort.summary(tmp_path / "out").in_order


def in_a_process(folder, body, *args, **options):
    """Run a sort in a Python of its own."""
    head = """
        import os, resource, signal, sys
        from principal_kit.core.errors import CapacityError
        from principal_kit.streaming import FixedWidth, SortObserver, external_sort
    """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize("bytes_max", [50_000, 99_000])
def test_a_real_limit_of_the_system(old, bytes_max):
    done = in_a_process(old, f"""
        resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_max}, {bytes_max}))
        try:
            external_sort("in", "out", slice(0, 10), 20_000)
        except CapacityError as error:
            print(error)
    """)  # fmt: skip
    assert "no room for the temporary file: File too large" in done.stdout, done.stderr


# ── interrupted ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("key", ["slice(0, 10)", "lambda r: r[:10]"])
@pytest.mark.parametrize("moment", ["spilled", "merged"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_in_mid_sort_leaves_nothing(old, key, moment, number):
    done = in_a_process(old, f"""
        class Now(SortObserver):
            def {moment}(self, count):
                assert count > 0
                os.kill(os.getpid(), {int(number)})
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
        external_sort("in", "out", {key}, 20_000, records=FixedWidth(100), observer=Now())
        print("not reached")
    """)  # fmt: skip
    assert done.stdout == ""
    assert "KeyboardInterrupt" in done.stderr if number == signal.SIGINT else done.returncode == -number


@pytest.mark.parametrize("moment", ["spilled", "merged"])
def test_ctrl_c_where_files_need_a_name(old, monkeypatch, moment):
    """On a file system without O_TMPFILE the output has a name while it is written; it goes too."""
    original = os.open

    def refuses(path, flags, *args, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return original(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refuses)
    seen = []

    class Now(SortObserver):
        def interrupt(self, count):
            seen.extend(os.listdir(old))
            raise KeyboardInterrupt

    setattr(Now, moment, Now.interrupt)
    with pytest.raises(KeyboardInterrupt):
        external_sort(old / "in", old / "out", gensort.KEY, 20_000, observer=Now())
    assert any(name.endswith(".partial") for name in seen)


def test_replaced_at_once_and_in_place(tmp_path):
    gensort.write(tmp_path / "in", 1000, seed=1)
    (tmp_path / "link").symlink_to("in")
    before = gensort.summary(tmp_path / "in")
    external_sort(tmp_path / "in", tmp_path / "link", gensort.KEY, 20_000, durable=True)
    assert (tmp_path / "link").is_symlink()
    assert gensort.summary(tmp_path / "in") == before._replace(in_order=True, stable=True)
    assert (tmp_path / "in").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_no_thread_and_no_descriptor_stays(tmp_path):
    import threading

    gensort.write(tmp_path / "in", 1000, seed=1)
    before = len(os.listdir("/proc/self/fd"))
    for limit in (4000, 20_000, 10**6, 50):
        try:
            external_sort(tmp_path / "in", tmp_path / "out", gensort.KEY, limit)
        except KitError:
            assert limit == 50
    assert len(os.listdir("/proc/self/fd")) == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sort")]


# ── memory ───────────────────────────────────────────────────────────────────────────────────────
MEASURE = """
    import mmap, threading
    def anonymous():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))

    peak = 0
    def sample(*_):
        global peak
        peak = max(peak, anonymous())

    class Sampling(SortObserver):
        spilled = merged = sample

    import numpy as np
    import principal_kit.streaming.block_merge as blocks, principal_kit.streaming.key_order as ordering
    import principal_kit.streaming.object_merge as objects, principal_kit.streaming.spill as spill
    def after(module, name):
        original = module.__dict__[name]
        def call(*args, **options):
            sample()
            try:
                return original(*args, **options)
            finally:
                sample()
        setattr(module, name, call)
    after(blocks, "stable_order"), after(ordering, "_settle"), after(ordering, "key_word")
    after(spill.Spill, "put"), after(spill.Output, "put"), after(objects.ObjectSorter, "_write")
    stats = external_sort("in", "out", eval(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None,
                          records=FixedWidth(100), observer=Sampling())
    sample()
    print(stats.runs, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' account of anonymous memory")
@pytest.mark.parametrize("keys, key, compression, limit", [
    ("uniform", "slice(0, 10)", "", 24 << 20), ("duplicates", "slice(0, 10)", "zstd", 24 << 20),
    ("skewed", "slice(0, 10)", "", 12 << 20), ("uniform", "lambda r: r[:10]", "lz4", 24 << 20),
])  # fmt: skip
def test_anonymous_memory_stays_under_the_limit_and_a_constant(tmp_path, keys, key, compression, limit):
    """Sampled after everything that allocates. Four times the limit goes through; the process' own start counts."""
    gensort.write(tmp_path / "in", 4 * limit // 100, seed=2, keys=keys)
    done = in_a_process(tmp_path, MEASURE, key, limit, compression)
    assert done.returncode == 0, done.stderr
    runs, peak = map(int, done.stdout.split())
    assert runs >= 4
    assert limit / 3 < peak <= limit + OVERHEAD_BYTES
