"""The image and compose.yaml, run without an engine."""

import re
import shutil
import socket
import struct
import threading
import unittest
import urllib.request
from pathlib import Path

from one_gb.clients import subscription

from .image import SOURCES, Image
from .sandbox import DEPLOY, PATIENCE_S, Process, own_network, scratch, wait_until

setUpModule = own_network

# The most that stopping takes after `--drain`: 2.2 s for NATS, 1 s for upstream servers.
STOP_S_MAX = 4


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return answer.status, answer.read().decode()


def publish(port, channel, body):
    message = f"LHTTP/1.0 test\r\npublish:{channel}\r\n\r\n{body}".encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/publish", data=message)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return answer.status


def listening_ports(pid):
    """The listening ports in the process's network, which has no other process."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return {int(fields[1].split(":")[1], 16) for fields in map(str.split, lines) if fields[3] == "0A"}


class Subscriber:
    """A WebSocket client that is subscribed to one channel."""

    def __init__(self, port, channel):
        self.stream = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.heard = b""
        self.stream.sendall(subscription(channel))
        self.acknowledged = self.hear(b"ack:live\r\n")

    def hear(self, text):
        while text not in self.heard:
            data = self.stream.recv(4096)
            if not data:
                raise AssertionError(f"the server has ended the connection after {self.heard}")
            self.heard += data
        return self.heard

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


class NameServer:
    """DNS on 127.0.0.11, like an engine's: every name has the address 127.0.0.1 and no IPv6 address."""

    ADDRESS = "127.0.0.11"
    QUESTION_A = struct.pack(">HH", 1, 1)

    def __init__(self):
        self.asked = set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.ADDRESS, 53))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            query, sender = self.socket.recvfrom(512)
            if not query:
                return
            end = query.index(b"\0", 12) + 1
            question, kind = query[12 : end + 4], query[end : end + 4]
            self.asked.add(name_in(query[12:end]))
            answers = b""
            if kind == self.QUESTION_A:
                answers = b"\xc0\x0c" + self.QUESTION_A + struct.pack(">IH", 60, 4) + socket.inet_aton("127.0.0.1")
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(answers) > 0, 0, 0)
            self.socket.sendto(head + question + answers, sender)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.sendto(b"", (self.ADDRESS, 53))
        self.thread.join()
        self.socket.close()


def name_in(labels):
    """The name, which DNS writes as labels, each behind its length."""
    names = []
    while labels[0]:
        names.append(labels[1 : 1 + labels[0]].decode())
        labels = labels[1 + labels[0] :]
    return ".".join(names)


class TheImage(unittest.TestCase):
    def test_its_program_has_at_most_8_mib(self):
        self.assertLessEqual(SOURCES["/lhttpd"].stat().st_size, 8 << 20)

    def test_serves_as_its_user_from_a_root_that_holds_nothing_else(self):
        image = Image()
        self.assertNotIn(0, image.user)
        with scratch() as root:
            image.unpack(root)
            with image.run(root) as server:
                server.wait_for("listening on 0.0.0.0:8081")
                wait_until(lambda: image.is_healthy(root), "the health check says it is well")
                status = Path(f"/proc/{server.pid}/status").read_text()
                self.assertIn(f"Uid:\t{image.user[0]}\t{image.user[0]}", status)
                self.assertEqual(listening_ports(server.pid), image.ports)
                self.assertIn("<title>", get("http://127.0.0.1:9090/")[1])
                with Subscriber(8081, "room") as subscriber:
                    self.assertEqual(publish(8081, "room", "from the image"), 200)
                    subscriber.hear(b"from the image")
                self.assertEqual(server.stop(), 0, server.lines)
            self.assertFalse(image.is_healthy(root))


class Compose(unittest.TestCase):
    def setUp(self):
        # Installed only with the tool that checks compose.yaml against its schema, see tools/check.
        from ruamel.yaml import YAML

        self.services = YAML(typ="safe").load(DEPLOY / "compose.yaml")["services"]
        self.nodes = [self.services["node-1"], self.services["node-2"]]

    def test_its_published_ports_are_those_of_its_nodes_and_the_same_inside_and_outside(self):
        image = Image()
        for node in self.nodes:
            published = [port.split(":") for port in node["ports"]]
            command = [word for word in node["command"] if not word.startswith("nats://") and word != "--nats"]
            with self.subTest(command), scratch() as root:
                image.unpack(root)
                with image.run(root, command) as server:
                    server.wait_for("listening on")
                    wait_until(lambda: image.is_healthy(root, self.health(image, node)), "the health check says it is well")
                    self.assertEqual({int(inside) for _, inside in published}, listening_ports(server.pid))
                    self.assertEqual([inside for _, inside in published], [outside for outside, _ in published])

    def test_its_nodes_are_given_the_time_to_drain_and_to_stop_after_that(self):
        with scratch() as root:
            image = Image()
            image.unpack(root)
            with image.run(root, ["--help"]) as program:
                self.assertEqual(program.wait(), 0)
                [drain] = re.findall(r"--drain .*?\[default: (\d+)s\]", "".join(program.lines), re.DOTALL)
        for node in self.nodes:
            self.assertNotIn("--drain", node["command"])
            seconds = int(node["stop_grace_period"].removesuffix("s"))
            self.assertGreater(seconds, int(drain) + STOP_S_MAX)

    def test_two_nodes_are_one_system_and_find_nats_by_its_name(self):
        nats_server = shutil.which("nats-server") or self.skipTest("nats-server is not installed")
        image = Image()
        with NameServer() as names, Process([nats_server, "-a", "127.0.0.1", "-p", "4222"]) as nats, scratch() as root:
            nats.wait_for("Server is ready")
            image.unpack(root, name_server=names.ADDRESS)
            first, second = (image.run(root, node["command"]) for node in self.nodes)
            with first, second:
                first.wait_for("listening on"), second.wait_for("listening on")
                self.assert_joined(8081, 8082)
                self.assertEqual(names.asked, {"nats"})

    def test_the_names_of_hosts_may_stand_in_a_file(self):
        nats_server = shutil.which("nats-server") or self.skipTest("nats-server is not installed")
        image = Image()
        with Process([nats_server, "-a", "127.0.0.1", "-p", "4222"]) as nats, scratch() as root:
            nats.wait_for("Server is ready")
            image.unpack(root, hosts={"nats": "127.0.0.1"})
            with image.run(root, self.nodes[0]["command"]) as first, image.run(root, self.nodes[1]["command"]) as second:
                first.wait_for("listening on"), second.wait_for("listening on")
                self.assert_joined(8081, 8082)

    def assert_joined(self, first_port, second_port):
        """A subscription is acknowledged without `cluster:offline` when NATS has confirmed it."""

        def is_online(port):
            with Subscriber(port, "probe") as subscriber:
                return b"cluster:offline" not in subscriber.acknowledged

        for port in (first_port, second_port):
            wait_until(lambda: is_online(port), f"the node at {port} has found NATS")
        with Subscriber(second_port, "room") as subscriber:
            publish(first_port, "room", "from node to node")
            subscriber.hear(b"from node to node")

    def health(self, image, node):
        if "healthcheck" not in node:
            return image.health
        kind, *command = node["healthcheck"]["test"]
        self.assertEqual(kind, "CMD")
        return command
