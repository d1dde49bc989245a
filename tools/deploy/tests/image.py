"""The result of the Dockerfile's last stage, made without an engine: a folder with the image's files, and its settings."""

import json
import os
import re
import shutil
import stat
from pathlib import Path

from .sandbox import DEPLOY, Process

# The files that the last stage copies from the build stage.
SOURCES = {
    "/lhttpd": Path(os.environ.get("LHTTPD_STATIC", DEPLOY.parents[1] / "target/static/lhttpd")),
    "/src/tools/deploy/image.toml": DEPLOY / "image.toml",
}
# Their minor numbers; the major one is 1.
DEVICES = {"null": 3, "random": 8, "urandom": 9}


class Image:
    def __init__(self):
        text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
        base, last = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1].split("\n", 1)
        if base != "scratch":
            raise AssertionError(f"the image is made FROM {base}")
        self.lines = [line.split(" ", 1) for line in last.splitlines() if line and not line.startswith("#")]
        self.user = tuple(map(int, self.only("USER").split(":")))
        self.ports = {int(port) for port in self.only("EXPOSE").split()}
        self.entrypoint, self.command = json.loads(self.only("ENTRYPOINT")), json.loads(self.only("CMD"))
        self.health = json.loads(self.only("HEALTHCHECK").split("CMD ", 1)[1])

    def only(self, instruction):
        [value] = [value for name, value in self.lines if name == instruction]
        return value

    def unpack(self, root, hosts=None, name_server=None):
        """Puts the image's files there, and those that an engine adds: devices, host names, and the address of a name server."""
        for name, value in self.lines:
            if name == "COPY":
                source, target = value.removeprefix("--from=build ").split()
                path = Path(root) / target.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(SOURCES.get(source, source), path)
        etc, dev = Path(root) / "etc", Path(root) / "dev"
        dev.mkdir()
        for device, minor in DEVICES.items():
            os.mknod(dev / device, stat.S_IFCHR, os.makedev(1, minor))
            os.chmod(dev / device, 0o666)
        if hosts:
            (etc / "hosts").write_text("".join(f"{address} {host}\n" for host, address in hosts.items()))
        if name_server:
            (etc / "resolv.conf").write_text(f"nameserver {name_server}\noptions ndots:0\n")

    def run(self, root, command=None):
        return Process([*self.entrypoint, *(command or self.command)], root, self.user)

    def is_healthy(self, root, check=None):
        with Process(check or self.health, root, self.user) as process:
            return process.wait() == 0
