"""lhttpd, and a probe that checks that it keeps answering."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .memory import resident

PATIENCE_S = 40
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Daemon:
    """lhttpd with one core, on one CPU and with this memory limit; with TLS if `tls`."""

    def __init__(self, program, more, memory, cpu, tls=False):
        self.tls, self.files = tls, tempfile.TemporaryDirectory()
        listen = ["--listen", "tls://127.0.0.1:0", *certificate(self.files.name)] if tls else ["--listen", "127.0.0.1:0"]

        def confine():
            memory.join()
            os.sched_setaffinity(0, [cpu])

        command = [program, "--cores", "1", *listen, *more]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=confine)
        memory.watch(self.process.pid)
        self.line = self.process.stderr.readline().strip()
        found = re.search(r"127\.0\.0\.1:(\d+).* (\d+) connections", self.line)
        if not found:
            self.process.kill()
            raise SystemExit(f"one-gb: lhttpd does not start: {self.line}")
        self.port, self.connections_max = int(found[1]), int(found[2])
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}"
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.files.cleanup()

    def resident(self):
        return resident(self.process.pid)

    def stop(self):
        """Stops lhttpd gracefully. Returns the exit code (None if it still runs) and the seconds that it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
            self.reader.join()
        except subprocess.TimeoutExpired:
            code = None
        return code, time.monotonic() - start


class Probe:
    """Requests /healthz again and again, each time on a new connection."""

    def __init__(self, daemon):
        self.port, self.asked, self.failed, self.worst_s = daemon.port, 0, 0, 0.0
        # The certificate is the daemon's own, made a moment ago.
        self.tls = ssl._create_unverified_context() if daemon.tls else None
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()

    def run(self):
        while not self.is_over.wait(0.05):
            start = time.monotonic()
            try:
                with self.connect() as stream:
                    stream.sendall(HEALTH)
                    is_well = stream.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                is_well = False
            self.asked += 1
            self.failed += not is_well
            self.worst_s = max(self.worst_s, time.monotonic() - start)

    def connect(self):
        stream = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        return self.tls.wrap_socket(stream) if self.tls else stream


def certificate(folder):
    """Makes a self-signed certificate in this folder. Returns lhttpd's arguments for it."""
    files = [str(Path(folder) / name) for name in ("certificate.pem", "key.pem")]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", files[1]]
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(
            ["openssl", "req", "-x509", "-subj", "/CN=localhost", "-days", "365", *key, "-out", files[0]],
            check=True,
            capture_output=True,
        )
        return ["--tls-cert", files[0], "--tls-key", files[1]]
    raise SystemExit("one-gb: --tls needs the program openssl")
