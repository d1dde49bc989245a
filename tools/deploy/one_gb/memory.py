"""Limits and measures the daemon's memory."""

import contextlib
import os
import threading
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
SAMPLE_S = 0.01


def memory_of(limit):
    """A new group with this limit in bytes. If the machine cannot make one, an object that only measures."""
    for group in (Cgroup2, Cgroup1):
        with contextlib.suppress(OSError):
            return group(limit)
    return Resident()


class Memory:
    """Samples the memory in use, for its peak: the kernel's own peaks know no phases."""

    limit = None

    def __init__(self):
        self.peaks, self.lock, self.is_over = (0, 0), threading.Lock(), threading.Event()
        self.sampler = threading.Thread(target=self.sample, daemon=True)

    def __enter__(self):
        self.sampler.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.sampler.join()

    def sample(self):
        while not self.is_over.wait(SAMPLE_S):
            with self.lock:
                self.peaks = self.highest()

    def highest(self):
        return max(self.peaks[0], self.current()), max(self.peaks[1], self.sockets())

    def take_peaks(self):
        """The most memory in use since the last call, and the most of TCP's buffers."""
        with self.lock:
            peaks, self.peaks = self.highest(), (0, 0)
            return peaks


class Resident(Memory):
    """Without a memory cgroup: lhttpd's resident memory. The kernel's part is not measured, and nothing is limited."""

    name = "no memory cgroup can be made here, so nothing is limited, and memory is what lhttpd has resident"

    def __init__(self):
        super().__init__()
        self.pid = None

    def join(self):
        pass

    def watch(self, pid):
        self.pid = pid

    def current(self):
        return resident(self.pid) if self.pid else 0

    def sockets(self):
        return 0

    def refusals(self):
        return 0


class Cgroup(Memory):
    """A memory cgroup."""

    def __init__(self, root, limit, limits):
        super().__init__()
        self.limit = limit
        self.path = root / f"lhttp-one-gb-{os.getpid()}"
        self.path.mkdir()
        try:
            for name, value in limits:
                (self.path / name).write_text(str(value))
        except OSError:
            self.path.rmdir()
            raise

    def __exit__(self, *_):
        super().__exit__()
        for _ in range(100):  # a process leaves its group a little after its end
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.05)

    def join(self):
        """Puts the calling process into the group."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def watch(self, pid):
        pass

    def number(self, name):
        return int((self.path / name).read_text())

    def table(self, name):
        return {key: int(value) for key, value in (line.split() for line in (self.path / name).read_text().splitlines())}


class Cgroup2(Cgroup):
    """Version 2 counts everything in one number: the process, and the kernel's memory for it."""

    name = "cgroup version 2"

    def __init__(self, limit):
        if "memory" not in (CGROUPS / "cgroup.controllers").read_text().split():
            raise OSError("version 2 does not have the memory controller here")
        (CGROUPS / "cgroup.subtree_control").write_text("+memory")
        super().__init__(CGROUPS, limit, [("memory.max", limit)])
        with contextlib.suppress(OSError):  # there may be no swap to limit
            (self.path / "memory.swap.max").write_text("0")

    def current(self):
        return self.number("memory.current")

    def sockets(self):
        """Bytes of TCP buffers, which are part of the memory in use."""
        return self.table("memory.stat")["sock"]

    def refusals(self):
        """How often the kernel refused memory, or killed a process for it."""
        events = self.table("memory.events")
        return events["oom"] + events["oom_kill"]


class Cgroup1(Cgroup):
    """Version 1 counts TCP's buffers separately: they get the same limit, and this class adds the two numbers."""

    name = "cgroup version 1, memory and TCP buffers added"

    def __init__(self, limit):
        limits = [("memory.limit_in_bytes", limit), ("memory.kmem.tcp.limit_in_bytes", limit)]
        super().__init__(CGROUPS / "memory", limit, limits)

    def current(self):
        return self.number("memory.usage_in_bytes") + self.sockets()

    def sockets(self):
        return self.number("memory.kmem.tcp.usage_in_bytes")

    def refusals(self):
        """How often a process was killed for memory. (`memory.failcnt` also counts memory that was then reclaimed.)"""
        return self.table("memory.oom_control")["oom_kill"]


def resident(pid):
    """The resident memory of a process, in bytes."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
