"""Starting a process: readiness, the log in the error, ports, directories."""

from __future__ import annotations

import socket
import stat

import psutil
import pytest

from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.services import process as module
from principal_kit.services.process import ServerProcess, free_port, require_free


def test_a_server_that_ends_at_once_shows_the_last_lines_of_its_log():
    server = ServerProcess("demo", lambda _: ["sh", "-c", "seq 100; echo the disk is full >&2; exit 3"])
    with pytest.raises(ServiceError, match=r"(?s)demo ended before it answered.*99\n100\nthe disk is full$") as caught:
        server.wait_ready(lambda: False, 20)
    assert "\n88\n" not in str(caught.value), "only the last lines"
    assert not server.directory.exists()


def test_a_command_that_does_not_exist_is_named():
    server = ServerProcess("demo", lambda _: ["/nowhere/redis-server"])
    with pytest.raises(ServiceError, match="/nowhere/redis-server: No such file"):
        server.wait_ready(lambda: False, 20)


def test_a_server_that_never_answers_is_stopped_after_the_limit(gone):
    clock = ManualClock()
    server = ServerProcess("demo", lambda _: ["sleep", "300"], clock=clock)
    child = psutil.Process(server.pid)

    def never():
        clock.advance(1.0)
        return False

    with pytest.raises(
        ServiceError, match=r"demo did not answer within 5 s\. Last lines of its log:\n\(the log is empty"
    ):
        server.wait_ready(never, 5)
    assert gone(child)


def test_an_interrupt_while_it_starts_leaves_nothing(gone):
    server = ServerProcess("demo", lambda _: ["sleep", "300"])
    child = psutil.Process(server.pid)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.wait_ready(interrupted, 5)
    assert gone(child)
    assert not server.directory.exists()


def test_its_directory_is_private_and_goes_with_it():
    server = ServerProcess("demo", lambda _: ["sleep", "300"])
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    server.stop()
    assert not server.directory.exists()
    server.stop()  # twice is once


def test_a_folder_that_several_share_goes_with_the_last(eventually):
    folder = module.shared_folder("demo")
    (folder / "checkpoints").mkdir()
    servers = [ServerProcess(f"demo-{i}", lambda _: ["sleep", "300"], inside=folder) for i in range(3)]
    assert {server.directory.parent for server in servers} == {folder}
    servers[0].kill()
    servers[0].stop()
    assert (folder / "checkpoints").is_dir()
    for server in servers[1:]:
        server.let_go()
    eventually(lambda: not folder.exists())
    for server in servers[1:]:
        server.stop()


def test_a_temporary_folder_with_a_name_like_ours_is_kept(tmp_path, monkeypatch):
    place = tmp_path / "principal-kit-of-somebody"
    place.mkdir()
    monkeypatch.setattr(module.tempfile, "tempdir", str(place))
    ServerProcess("demo", lambda _: ["sleep", "300"]).stop()
    assert list(place.iterdir()) == []


def test_kill_returns_when_it_is_dead():
    server = ServerProcess("demo", lambda _: ["sleep", "300"])
    assert server.running()
    server.kill()
    assert not server.running()
    server.kill()
    server.stop()


def test_a_server_inherits_none_of_our_files(tmp_path, eventually):
    listing = tmp_path / "fds"
    with open(tmp_path / "secret", "w"):
        server = ServerProcess(
            "demo", lambda _: ["sh", "-c", f"ls /dev/fd > {listing}.new; mv {listing}.new {listing}; sleep 300"]
        )
        eventually(listing.exists)
        server.stop()
    assert len(listing.read_text().split()) <= 4  # 0, 1, 2 and the directory that `ls` reads


def test_free_port_is_free():
    require_free(free_port())


def test_an_occupied_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port} is occupied"):
            require_free(port)


@pytest.mark.parametrize("port", [0, -1, 65536, "6379", 1.5])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(InvalidArgument, match="expected an integer from 1 to 65535"):
        require_free(port)


def test_nothing_is_left_in_the_list_of_the_living():
    before = set(module._alive)
    server = ServerProcess("demo", lambda _: ["sleep", "300"])
    assert module._alive - before == {server}
    server.stop()
    assert set(module._alive) == before
