"""Laws of a standard error that may lose its reader: writing never fails, nor does the end."""

import contextlib
import io
import os
import subprocess
import sys

from dexsearch.streams import discard, unfailing


def written(script: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose standard error is a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, "-c", f"import sys; from dexsearch.streams import *; {script}"],
            stderr=writer, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)


def test_a_program_outlives_the_reader_of_its_standard_error() -> None:
    bare = written("sys.stderr.write('a line\\n'); print('done')")
    assert (bare.returncode, bare.stdout) == (1, ""), "the fault is not there"
    done = written(
        "sys.stderr = unfailing(sys.stderr); sys.stderr.write('a line\\n');"
        "print('more', file=sys.stderr, flush=True); sys.stderr.writelines(['x', 'y']);"
        "print('done')"
    )
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_full_disk_drops_lines_and_keeps_the_stream() -> None:
    with open("/dev/full", "w", buffering=1) as full:
        stream = unfailing(full)
        stream.write("a line\n")
        stream.flush()
        assert os.readlink(f"/proc/self/fd/{full.fileno()}") == "/dev/full"
        discard(full)
        assert os.readlink(f"/proc/self/fd/{full.fileno()}") == os.devnull


def test_what_can_be_written_is_written() -> None:
    text = io.StringIO()
    stream = unfailing(text)
    assert unfailing(stream) is stream
    stream.write("a")
    stream.writelines(["b", "c"])
    assert text.getvalue() == "abc"
    assert not stream.isatty()
    with unfailing(None) as nobody:
        nobody.write("a")


def test_what_is_told_at_once_is_told_or_dropped() -> None:
    assert written("tell_at_once('gone'); print('done')").stdout == "done\n"
    told = subprocess.run(
        [sys.executable, "-c", "from dexsearch.streams import *; tell_at_once('\\udc80 a\\n')"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert told == "\\udc80 a\n"


def test_a_reader_that_does_not_keep_up_misses_what_is_told_at_once() -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(2**16))
        done = subprocess.run(
            [sys.executable, "-c", "from dexsearch.streams import *; tell_at_once('late')"],
            stderr=writer, check=False,
        )  # fmt: skip
        assert done.returncode == 0
    finally:
        os.close(reader)
        os.close(writer)
