"""A guardian that outlives its owner by seconds: `python -I -S supervise.py DIRECTORY GRACE COMMAND...` (or `pid:N`).

Its standard input is a pipe whose only writer is the process that asked for the server. However that process ends,
SIGKILL included, the kernel closes the pipe; the guardian reads end-of-file, stops the server's whole process group and
removes its directory. Told `detach`, it serves on alone until SIGTERM (`principal-kit up`). No site packages: it costs
a few MiB.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time

KILL_SECONDS = 5.0  # how long a process may take to vanish after SIGKILL
PR_SET_PDEATHSIG = 1


def start(command, directory):
    """Fork and exec the server in a process group of its own, writing to DIRECTORY/log; returns its pid."""
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # the child does it too: whoever comes first
            os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(sig, signal.SIG_DFL)
        log = os.open(os.path.join(directory, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(source, target)
        os.chdir(directory)
        if sys.platform == "linux":
            die_with_the_guardian()
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def die_with_the_guardian():
    """Linux only: should the guardian itself be SIGKILLed, the kernel takes the server down with it."""
    import ctypes  # here, in the child: exec drops it, so the guardian stays small

    guardian = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != guardian:
        os._exit(127)


class Server:
    """The child: reaped the moment it dies, so that its pid never lingers as a zombie that looks alive."""

    def __init__(self, pid):
        self.pid, self.gone = pid, False

    def reap(self):
        """Whether the server has ended. Whatever else is left in its process group goes with it."""
        if not self.gone and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.gone = True
            self.signal_group(signal.SIGKILL)
        return self.gone

    def signal_group(self, sig):
        """Send `sig` to all of its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, sig)

    def stop(self, grace):
        """SIGTERM, then SIGKILL after `grace` seconds."""
        for sig, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL_SECONDS)):
            deadline = time.monotonic() + seconds
            if not self.reap():
                self.signal_group(sig)
            while not self.reap() and time.monotonic() < deadline:
                time.sleep(0.01)


class Adopted(Server):
    """A process that the owner started: not ours to reap. Its own end-of-file tells it to leave; it gets time to."""

    def reap(self):
        """Whether the process has ended."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            self.gone = True
        return self.gone

    def stop(self, grace):
        """Wait `grace` seconds, then as for a server of ours."""
        deadline = time.monotonic() + grace
        while not self.reap() and time.monotonic() < deadline:
            time.sleep(0.05)
        super().stop(1.0)

    def signal_group(self, sig):
        """Send `sig` to the process alone: its group is the owner's."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, sig)


def watch(server, owner):
    """Return when the server is to be stopped: its owner is gone, SIGTERM came, or (detached) it has ended."""
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    sources = [0, wake]
    while not asked:
        ready = select.select(sources, [], [], 1.0)[0]
        if wake in ready:
            os.read(wake, 512)
        if 0 in ready:
            if not os.read(0, 64):
                return
            sources.remove(0)  # "detach"
        ended, detached = server.reap(), 0 not in sources
        if detached and ended:
            return
        if not detached and os.getppid() != owner:  # should a stranger hold a copy of the pipe
            return


def main():
    """Start the server, say its pid, watch, stop, clean up."""
    owner = os.getppid()
    directory, grace, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    for sig in (signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    adopted = command[0].startswith("pid:")
    server = Adopted(int(command[0][4:])) if adopted else Server(start(command, directory))
    if not adopted:
        print(server.pid, flush=True)
    watch(server, owner)
    server.stop(grace)
    shutil.rmtree(directory, ignore_errors=True)
    leave_shared(*os.path.split(directory))


def leave_shared(folder, name):
    """Remove the folder that several servers shared if this was the last: each guardian looks once its own has gone."""
    if name.startswith("server-") and os.path.basename(folder).startswith("principal-kit-"):
        with contextlib.suppress(OSError):
            if not any(other.startswith("server-") for other in os.listdir(folder)):
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
