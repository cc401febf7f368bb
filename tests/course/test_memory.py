"""Peak memory counts children and what they start, by program, and forgets those that have gone."""

import subprocess
import sys
import time

import psutil
import pytest

from principal_kit.course.memory import PeakMemory, children_and_services, cpu_seconds, kind_of

BALLAST = """
import sys
ballast = bytearray({mib} * 2**20)
ballast[::4096] = b"x" * len(ballast[::4096])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "command, kind",
    [
        (["java", "-Xmx256m", "-cp", "a:b", "kafka.Kafka", "server.properties"], "Kafka"),
        (["java", "-cp", "spark", "org.apache.spark.deploy.SparkSubmit", "pyspark-shell"], "Spark"),
        (["python", "-m", "pyspark.daemon"], "Spark"),
        (["java", "-Xmx768m", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"], "Flink"),
        (["redis-server", "*:1234"], "Redis"),
        (["/usr/lib/postgresql/15/bin/postgres", "-D", "data"], "PostgreSQL"),
        (["postgres: checkpointer "], "PostgreSQL"),
        (["/usr/bin/python3", "-m", "ipykernel_launcher"], "Python"),
        (["/bin/sleep", "1"], "other"),
        ([], "other"),
    ],
)
def test_programs_are_told_apart(command, kind):
    assert kind_of(command) == kind


def test_the_peak_outlives_the_process_that_made_it():
    peaked = PeakMemory(children_and_services, interval=0.02)
    with peaked:
        child = subprocess.Popen(
            [sys.executable, "-c", BALLAST.format(mib=80)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 20
        while peaked.mib < 80 and time.monotonic() < deadline:
            time.sleep(0.02)
        child.communicate("")
        later = peaked.sample()
    assert peaked.mib >= 80
    assert later.total() < peaked.peak.total()
    assert "Python" in str(peaked)


def test_grandchildren_count_and_this_process_does_not():
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\ninput()\nchild.communicate(b'x\\n')"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    grandchild = int(child.stdout.readline())
    try:
        found = {process.pid for process in children_and_services()}
        assert {child.pid, grandchild} <= found
        assert psutil.Process().pid not in found
    finally:
        child.communicate("\n")


def test_processes_that_vanish_are_left_out():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    process = psutil.Process(child.pid)
    child.wait()
    assert PeakMemory(lambda: [process]).sample().total() == 0


def test_cpu_is_counted_by_program_and_only_grows():
    before = after = cpu_seconds()
    for _ in range(100):  # the clock ticks a hundred times a second
        sum(i * i for i in range(300_000))
        if (after := cpu_seconds())["this notebook"] > before["this notebook"]:
            break
    assert after["this notebook"] > before["this notebook"]
    assert all(seconds >= 0 for seconds in after.values())
