"""Client processes with open, subscribed connections that send only pongs."""

import base64
import contextlib
import json
import math
import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path

CONNECTIONS_MAX = 19_000
PER_CHANNEL = 100
# With TLS so many connections of a process are under way at the same time.
AT_ONCE = 2000
PATIENCE_S = 40
# A refused connection tries again after this time, as clients do.
RETRY_S = 0.2


class Clients:
    """The processes, each with connections from its own addresses. Run as a command, this file is one of them; `hold` is
    the command of another program that takes the same orders, for TLS."""

    def __init__(self, port, wanted, hold=None):
        count = math.ceil(wanted / CONNECTIONS_MAX)
        folder = Path(__file__).parent.parent
        self.processes = []
        for index in range(count):
            share = wanted // count + (index < wanted % count)
            command = [sys.executable, "-m", "one_gb.clients", str(port), str(index), str(share)]
            if hold:
                command = [str(part) for part in [*hold, "-n", share, "--index", index, "--at-once", AT_ONCE, "--wait", "sleep"]]
            self.processes.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def open(self):
        """All connect at once. Returns how many are live, how often they were refused, and the seconds of the slowest process."""
        answers = self.ask("open")
        live, refused = (sum(answer[name] for answer in answers) for name in ("live", "refused"))
        return live, refused, max(answer["seconds"] for answer in answers)

    def close(self):
        """All disconnect at once."""
        self.ask("close")

    def lost(self):
        """How many connections the server has ended since they were opened."""
        return sum(answer["lost"] for answer in self.ask("status"))

    def ask(self, command):
        for process in self.processes:
            process.stdin.write(command + "\n")
            process.stdin.flush()
        answers = [process.stdout.readline() for process in self.processes]
        if not all(answers):
            sys.exit(f"one-gb: a client process ended when it was asked to {command}")
        return [json.loads(answer) for answer in answers]


class Connection:
    """One connection: its number, which decides its channel, and the server's bytes so far."""

    def __init__(self, number):
        self.number, self.heard, self.is_live = number, b"", False


class Client:
    """One client process. It reads commands from stdin and answers each in JSON on stdout."""

    def __init__(self, port, index, wanted):
        self.port, self.index, self.wanted = port, index, wanted
        self.selector = selectors.EpollSelector()
        self.round = self.live = self.lost = self.refused = 0
        self.retries = []

    def serve(self):
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            if self.turn(None):
                command = sys.stdin.readline().strip()
                if not command:
                    return
                print(json.dumps(getattr(self, command)()), flush=True)

    def open(self):
        start = time.monotonic()
        # The ports of the earlier addresses are not free at once.
        self.round, self.live, self.lost, self.refused = self.round + 1, 0, 0, 0
        for number in range(self.wanted):
            self.connect(number)
        while self.live < self.wanted and time.monotonic() - start < PATIENCE_S:
            self.turn(RETRY_S)
            while self.retries and self.retries[0][0] < time.monotonic():
                self.connect(self.retries.pop(0)[1])
        return {"live": self.live, "refused": self.refused, "seconds": time.monotonic() - start}

    def close(self):
        for key in list(self.selector.get_map().values()):
            if key.data:
                self.selector.unregister(key.fileobj)
                key.fileobj.close()
        return {}

    def status(self):
        return {"lost": self.lost}

    def turn(self, timeout):
        """Serves the ready connections. Returns whether a command is ready."""
        is_asked = False
        for key, events in self.selector.select(timeout):
            if key.data:
                self.handle(key.fileobj, key.data, events)
            else:
                is_asked = True
        return is_asked

    def connect(self, number):
        stream = socket.socket()
        stream.setblocking(False)
        # The port is chosen at connect, so that each address can use all ports.
        stream.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        stream.bind((f"127.0.{self.round}.{self.index + 1}", 0))
        with contextlib.suppress(BlockingIOError):
            stream.connect(("127.0.0.1", self.port))
        self.selector.register(stream, selectors.EVENT_WRITE, Connection(number))

    def handle(self, stream, connection, events):
        try:
            if events & selectors.EVENT_WRITE:
                channel = f"idle{self.index}-{connection.number // PER_CHANNEL}"
                stream.sendall(subscription(channel))
                self.selector.modify(stream, selectors.EVENT_READ, connection)
                return
            heard = stream.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self.end(stream, connection)
        elif connection.is_live:
            if heard[0] == 0x89:  # a ping; its payload is empty
                stream.sendall(b"\x8a\x80" + bytes(4))
        else:
            connection.heard += heard
            if b"ack:live\r\n" in connection.heard:
                connection.heard, connection.is_live = b"", True
                self.live += 1

    def end(self, stream, connection):
        self.selector.unregister(stream)
        stream.close()
        if connection.is_live:
            self.live -= 1
            self.lost += 1
        else:
            self.refused += 1
            self.retries.append((time.monotonic() + RETRY_S, connection.number))


def subscription(channel):
    """Handshake and subscription in one write: the server reads one after the other. It acknowledges with `ack:live`."""
    key = base64.b64encode(os.urandom(16)).decode()
    handshake = (
        f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    message = f"LHTTP/1.0 idle\r\nsubscribe:{channel}\r\nack:live\r\n\r\n".encode()
    return handshake.encode() + bytes([0x81, 0x80 | len(message)]) + bytes(4) + message  # masked with zeros


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Client(*map(int, sys.argv[1:])).serve()


if __name__ == "__main__":
    main()
