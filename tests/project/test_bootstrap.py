"""A machine that lacks something, and an account that may not install it: stop at once and say what to type.

The machine is a PATH of our own: links to the few tools the script uses, and stubs for what must differ.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ["bash", "env", "dirname", "sed", "awk", "tr", "head", "cat", "grep", "cut", "mktemp", "rm", "uname", "id"]


@pytest.fixture
def machine(tmp_path):
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for tool in TOOLS:
        (bin_dir / tool).symlink_to(shutil.which(tool))
    (bin_dir / "python3").symlink_to(Path(sys.executable).resolve())

    class Machine:
        def stub(self, name: str, body: str) -> None:
            path = bin_dir / name
            path.unlink(missing_ok=True)
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)

        def bootstrap(self, *args: str) -> subprocess.CompletedProcess:
            env = {"PATH": str(bin_dir), "HOME": str(tmp_path), "POSTGRES_ROOT": str(tmp_path)}
            command = [shutil.which("bash"), str(ROOT / "scripts/bootstrap.sh"), *args]
            return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    made = Machine()
    made.stub("id", "echo 1000")
    made.stub("apt-get", f"echo ran >> {tmp_path}/apt.log")
    made.stub("apt-cache", "exit 1")
    made.stub("java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    made.stub("mvn", "echo 'Apache Maven 3.8.7'")
    made.stub("redis-server", "echo 'Redis server v=7.0.15 sha=0'")
    made.stub("postgres", "echo 'postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)'")
    made.apt_log = tmp_path / "apt.log"
    made.bin = bin_dir
    return made


def test_nothing_missing_is_said_with_versions(machine):
    done = machine.bootstrap("--check")
    assert done.returncode == 0, done.stderr
    assert "java 17, maven 3.8.7, redis 7.0.15, postgresql 15.18" in done.stdout


def test_missing_without_rights_stops_with_the_apt_command(machine):
    for name in ("java", "mvn", "redis-server", "postgres"):
        (machine.bin / name).unlink()
    done = machine.bootstrap("book")
    assert done.returncode == 1
    assert "Missing: java maven redis postgresql" in done.stderr
    wanted = "sudo apt-get install -y --no-install-recommends openjdk-17-jre-headless maven redis-server postgresql"
    assert wanted in done.stderr
    assert 'Stopped in step 1 of 3, "System packages"' in done.stderr
    assert not machine.apt_log.exists(), "it must not try to install"


def test_sudo_that_asks_for_a_password_counts_as_no_rights(machine):
    (machine.bin / "mvn").unlink()
    machine.stub("sudo", 'echo "a password is required" >&2; exit 1')
    done = machine.bootstrap("book")
    assert done.returncode == 1
    assert "Missing: maven" in done.stderr
    assert not machine.apt_log.exists()


def test_macos_is_told_the_brew_command(machine):
    for name in ("apt-get", "java", "mvn", "redis-server", "postgres"):
        (machine.bin / name).unlink()
    machine.stub("uname", "echo Darwin")
    done = machine.bootstrap("book")
    assert done.returncode == 1
    assert "brew install openjdk@17 maven redis postgresql@17" in done.stderr


def test_a_java_that_is_too_old_counts_as_missing(machine):
    machine.stub("java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    done = machine.bootstrap("--check")
    assert done.returncode == 1
    assert "Missing: java" in done.stderr


def test_java_home_is_looked_at_before_path(machine, tmp_path):
    (machine.bin / "java").unlink()
    home = tmp_path / "jdk/bin"
    home.mkdir(parents=True)
    java = home / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    java.chmod(0o755)
    env = {"PATH": str(machine.bin), "HOME": str(tmp_path), "JAVA_HOME": str(home.parent)}
    command = [shutil.which("bash"), str(ROOT / "scripts/bootstrap.sh"), "--check"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "java 21" in done.stdout


def test_promtool_is_fetched_for_tests_by_a_script_of_its_own(machine):
    for name in ("chromium", "actionlint", "shellcheck"):
        machine.stub(name, "exit 0")
    done = machine.bootstrap("--check", "test")
    assert done.returncode == 1
    assert "Missing: promtool" in done.stderr
    assert "    scripts/promtool.sh --where" in done.stderr
    assert machine.bootstrap("--check").returncode == 0, "readers of the book need none"
    machine.stub("promtool", "exit 0")
    assert machine.bootstrap("--check", "test").returncode == 0


def test_shell_scripts_parse():
    for script in sorted((ROOT / "scripts").glob("*.sh")):
        subprocess.run(["bash", "-n", str(script)], check=True, env=os.environ)
