"""lhttpd, and a probe that checks that it keeps answering."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

from .memory import resident

PATIENCE_S = 40
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Daemon:
    """lhttpd with one core, on one CPU and with this memory limit."""

    def __init__(self, program, more, memory, cpu):
        def confine():
            memory.join()
            os.sched_setaffinity(0, [cpu])

        command = [program, "--cores", "1", "--listen", "127.0.0.1:0", *more]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=confine)
        memory.watch(self.process.pid)
        self.line = self.process.stderr.readline().strip()
        found = re.search(r"listening on 127\.0\.0\.1:(\d+).* (\d+) connections", self.line)
        if not found:
            self.process.kill()
            raise SystemExit(f"one-gb: lhttpd does not start: {self.line}")
        self.port, self.connections_max = int(found[1]), int(found[2])
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

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

    def __init__(self, port):
        self.port, self.asked, self.failed, self.worst_s = port, 0, 0, 0.0
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
                with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as stream:
                    stream.sendall(HEALTH)
                    is_well = stream.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                is_well = False
            self.asked += 1
            self.failed += not is_well
            self.worst_s = max(self.worst_s, time.monotonic() - start)
