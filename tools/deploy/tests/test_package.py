"""The Debian package, in its own root. Its scripts run as in a container: without a running systemd."""

import re
import shutil
import subprocess
import unittest
from pathlib import Path

from .sandbox import ROOT, Process, own_network, scratch, wait_until

NOBODY = (65534, 65534)
# systemd's own scale: 0 is locked down, 10 is unsafe. It calls less than 2 "OK".
EXPOSURE_MAX = 2.0


def setUpModule():
    own_network()
    # Otherwise the package's scripts would talk to the machine's systemd.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class TheDebianPackage(unittest.TestCase):
    def setUp(self):
        [self.package] = (ROOT / "target/debian").glob("lhttpd_*.deb")
        folder = scratch()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        database = self.root / "var/lib/dpkg"
        database.mkdir(parents=True)
        # The packages of this machine that the package depends on count as installed in the root, too.
        depends = re.findall(r"[a-z0-9.+-]+(?= |,|$)", re.sub(r"\([^)]*\)", "", run("dpkg-deb", "-f", self.package, "Depends")))
        (database / "status").write_text("".join(run("dpkg-query", "--status", name) + "\n" for name in depends))
        self.dpkg("--install", self.package)

    def dpkg(self, *arguments):
        # Its scripts run outside the root, which has no shell, and are told its path.
        return run("dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-confdef", *arguments)

    def mode(self, path):
        return (self.root / path).stat().st_mode & 0o777

    def unit(self):
        [path] = self.root.glob("**/systemd/system/lhttpd.service")
        return path

    def test_enables_its_service_and_keeps_secrets_from_others(self):
        self.assertEqual((self.mode("usr/bin/lhttpd"), self.mode("etc/lhttpd.toml")), (0o755, 0o644))
        self.assertEqual(self.mode("etc/default/lhttpd"), 0o600)
        self.assertTrue((self.root / "etc/systemd/system/multi-user.target.wants/lhttpd.service").is_symlink())

    def test_runs_as_its_service_does(self):
        command = re.search(r"^ExecStart=(.*)$", self.unit().read_text(), re.MULTILINE)[1].split()
        command = [f"{self.root}{word}" if word.startswith("/") else word for word in command]
        with Process(command, user=NOBODY) as server:
            server.wait_for("listening on 127.0.0.1:8081")
            health = [command[0], "--health", "http://127.0.0.1:8081/healthz"]

            def is_healthy():
                with Process(health, user=NOBODY) as check:
                    return check.wait() == 0

            wait_until(is_healthy, "the health check says it is well")
            self.assertEqual(server.stop(), 0, server.lines)

    def test_keeps_the_configuration_until_it_is_purged(self):
        config = self.root / "etc/lhttpd.toml"
        config.write_text('listen = "127.0.0.1:8082"\n')
        self.dpkg("--install", self.package)
        self.dpkg("--remove", "lhttpd")
        self.assertEqual(config.read_text(), 'listen = "127.0.0.1:8082"\n')
        self.assertFalse((self.root / "usr/bin/lhttpd").exists())
        self.dpkg("--purge", "lhttpd")
        self.assertFalse(config.exists() or (self.root / "etc/default/lhttpd").exists())
        self.assertEqual(list(self.root.glob("etc/systemd/system/**/lhttpd.service")), [])

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_its_service_is_valid_and_hardened(self):
        unit = self.root / "lhttpd.service"
        # systemd-analyze looks for the unit's programs on this machine.
        unit.write_text(self.unit().read_text().replace("/usr/bin/lhttpd", f"{self.root}/usr/bin/lhttpd"))
        self.assertNotIn("lhttpd.service", run("systemd-analyze", "verify", "--man=no", unit))
        # The socket unit is for those who copy it, and fits the service.
        socket = self.root / "lhttpd.socket"
        shutil.copy(self.root / "usr/share/doc/lhttpd/lhttpd.socket", socket)
        self.assertNotIn("lhttpd.s", run("systemd-analyze", "verify", "--man=no", socket, unit))
        threshold = str(int(EXPOSURE_MAX * 10))
        run("systemd-analyze", "security", "--offline=yes", f"--threshold={threshold}", unit)
