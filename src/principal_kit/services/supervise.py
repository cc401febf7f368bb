"""A guardian that outlives its parent by seconds: run as `python -I -S supervise.py DIRECTORY GRACE COMMAND...`.

Its standard input is a pipe whose only writer is the process that asked for the server. However that process ends, SIGKILL
included, the kernel closes the pipe; the guardian reads end-of-file, stops the server's whole process group and removes its
directory. Standard library only and no site packages, so that it costs a few MiB.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading


def stop(process: subprocess.Popen, grace: float) -> None:
    """SIGTERM to the server's process group, then SIGKILL to whatever is left of it after `grace` seconds."""
    for sig, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)


def main() -> None:
    directory, grace, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(sig, signal.SIG_IGN)  # only the end of the pipe ends us
    log_path = os.path.join(directory, "log")
    with open(log_path, "ab") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                start_new_session=True,
                preexec_fn=restore_signals,
            )
        except OSError as error:
            log.write(f"{command[0]}: {error}\n".encode())
            print(-1, flush=True)
            process = None
    if process is not None:
        print(process.pid, flush=True)
        # Reaps the server the moment it dies, so that its pid never lingers as a zombie that looks alive.
        threading.Thread(target=process.wait, daemon=True).start()
    while os.read(0, 64):
        pass
    if process is not None:
        stop(process, grace)
    shutil.rmtree(directory, ignore_errors=True)


def restore_signals() -> None:
    """The guardian ignores these; the server must not inherit that."""
    for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(sig, signal.SIG_DFL)


if __name__ == "__main__":
    main()
