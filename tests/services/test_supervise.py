"""No orphans: however the owner of a server ends, the server's processes and its directory go too."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration

ONE_REDIS = """
r = services.redis()
told = {"dir": str(r._process.directory), "pid": r.pid, "port": r.port}
"""
EVERYTHING = """
r, k, s = services.redis(), services.kafka(), services.spark()
from principal_kit.services import spark_session
jvm = s.sparkContext._gateway.proc.pid
told = {"dirs": [str(r._process.directory), str(k._process.directory), str(spark_session._directory)],
        "pids": [r.pid, k.pid, jvm]}
"""


@pytest.mark.slow
def test_a_killed_interpreter_leaves_no_server_and_no_file(script, eventually, gone):
    program = script(EVERYTHING)
    family = program.family
    assert {psutil.Process(pid) for pid in program.told["pids"]} <= set(family)
    assert all(Path(d).is_dir() for d in program.told["dirs"])
    program.popen.kill()
    eventually(lambda: all(gone(p) for p in family))
    eventually(lambda: not any(Path(d).exists() for d in program.told["dirs"]))


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_to_the_interpreter_ends_its_server(script, eventually, gone, how):
    program = script(ONE_REDIS)
    program.popen.send_signal(getattr(signal, how))
    eventually(lambda: all(gone(p) for p in program.family))
    eventually(lambda: not Path(program.told["dir"]).exists())


@pytest.mark.parametrize("last_words", ["sys.exit(3)", "os._exit(3)", "os.abort()", "1/0"])
def test_every_end_of_the_interpreter_ends_its_server(script, eventually, gone, last_words):
    program = script(
        ONE_REDIS
        + f"""
class Exiting:
    def read(self):
        {last_words}
sys.stdin = Exiting()
"""
    )
    eventually(lambda: all(gone(p) for p in program.family))
    eventually(lambda: not Path(program.told["dir"]).exists())


def test_a_normal_end_waits_until_all_is_gone(script, gone):
    program = script(ONE_REDIS)
    program.end()
    assert program.popen.returncode == 0
    assert all(gone(p) for p in program.family)
    assert not Path(program.told["dir"]).exists()


def test_ctrl_c_in_the_notebook_is_not_for_the_server(script):
    """An interrupt goes to the kernel's whole process group; the kernel survives it and so must its server."""
    program = script(
        ONE_REDIS
        + """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.setpgid(0, 0)
os.killpg(0, signal.SIGINT)
told["alive"] = r.ping()
"""
    )
    assert program.told["alive"] is True


def test_a_forked_worker_that_ends_does_not_stop_the_parents_server(script):
    program = script(
        """
import warnings
warnings.simplefilter("ignore")
r = services.redis()
child = os.fork()
if child == 0:
    same = services.redis() is r and r.ping()
    r.stop()               # nothing of the child's
    services.stop_all()
    sys.exit(0 if same else 9)  # runs atexit, unlike os._exit
told = {"status": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "alive": r.ping()}
"""
    )
    assert program.told == {"status": 0, "alive": True}


def test_a_forked_worker_does_not_keep_a_dead_parents_server_alive(script, eventually, gone):
    program = script(
        """
import time, warnings
warnings.simplefilter("ignore")
r = services.redis()
child = os.fork()
if child == 0:
    os.close(1)
    time.sleep(120)
    os._exit(0)
told = {"pid": r.pid, "child": child}
"""
    )
    worker, server = psutil.Process(program.told["child"]), psutil.Process(program.told["pid"])
    program.popen.kill()
    eventually(lambda: gone(server))
    assert not gone(worker)
    worker.kill()


def test_a_forked_worker_can_have_a_server_of_its_own(script, eventually, gone):
    program = script(
        """
import warnings
warnings.simplefilter("ignore")
r = services.redis()
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    mine = services.redis(fresh=True)
    os.write(writer, str(mine.pid).encode())
    os._exit(0)
os.waitpid(child, 0)
told = {"parents": r.pid, "childs": int(os.read(reader, 32)), "alive": r.ping()}
"""
    )
    assert program.told["alive"]
    assert program.told["parents"] != program.told["childs"]
    eventually(lambda: not psutil.pid_exists(program.told["childs"]))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_killed_guardian_takes_its_server_with_it(script, eventually, gone):
    program = script(ONE_REDIS)
    server = psutil.Process(program.told["pid"])
    server.parent().kill()
    eventually(lambda: gone(server))
    program.end()
    assert not Path(program.told["dir"]).exists(), "the owner cleans up what the guardian could not"


def test_a_server_that_ignores_sigterm_is_killed(tmp_path, eventually, gone):
    from principal_kit.services.process import ServerProcess

    ready = tmp_path / "ready"
    stubborn = f"trap '' TERM; : > {ready}; while :; do sleep 60; done"
    server = ServerProcess("stubborn", lambda _: ["sh", "-c", stubborn], grace=0.2)
    server.wait_ready(ready.exists, 20)
    process = psutil.Process(server.pid)
    family = [process, *process.children()]
    server.stop()
    assert all(gone(p) for p in family)
    assert not server.directory.exists()


def test_what_the_server_started_goes_with_it(tmp_path, eventually, gone):
    from principal_kit.services.process import ServerProcess

    ready = tmp_path / "ready"
    server = ServerProcess("parent", lambda _: ["sh", "-c", f"sleep 300 & sleep 301 & : > {ready}; wait"], grace=1.0)
    server.wait_ready(ready.exists, 20)
    children = psutil.Process(server.pid).children()
    assert len(children) == 2
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: all(gone(c) for c in children))
    server.stop()
