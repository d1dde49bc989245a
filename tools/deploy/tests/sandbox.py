"""A network for the tests alone, folders that serve as a root, and processes that end with their test."""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[1]
ROOT = DEPLOY.parents[1]
PATIENCE_S = 30
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x41


def own_network():
    """Fails unless this process has a network of its own; brings up its loopback."""
    interfaces = [name for _, name in socket.if_nameindex()]
    if interfaces != ["lo"]:
        raise SystemExit(f"run this with a network of its own (unshare --net), here are {interfaces}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S} s until {what}")
        time.sleep(0.01)


class Process:
    """A running command, perhaps as another user in another root."""

    def __init__(self, command, root=None, user=None):
        def enter():
            if root:
                os.chroot(root)
                os.chdir("/")
            if user:
                os.setgroups([])
                os.setgid(user[1])
                os.setuid(user[0])

        pipe = subprocess.PIPE
        # No environment variables: an image has none either.
        self.process = subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env={}, preexec_fn=enter)
        self.pid, self.lines = self.process.pid, []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def says(self, text):
        return any(text in line for line in self.lines)

    def wait_for(self, text):
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.says(text) or self.process.poll() is not None, "")
        if not self.says(text):
            raise AssertionError(f"it does not say {text!r}: {''.join(self.lines)}")

    def wait(self):
        code = self.process.wait(PATIENCE_S)
        self.reader.join()
        return code

    def stop(self):
        """Asks the command to end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.wait()
        self.process.stdout.close()


def scratch():
    """A folder that is removed at the end, open to every user as a root is."""
    folder = tempfile.TemporaryDirectory(prefix="lhttp-deploy-")
    os.chmod(folder.name, 0o755)
    return folder
