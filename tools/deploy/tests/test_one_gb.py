"""The program that measures lhttpd on 1 GB, when lhttpd or a benchmark fails."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from unittest.mock import Mock

from one_gb.clients import Clients
from one_gb.memory import Cgroup1, Cgroup2, memory_of

from .image import SOURCES
from .sandbox import DEPLOY, PATIENCE_S, ROOT, own_network, scratch

setUpModule = own_network
MIB = 1 << 20


def program():
    """The program as a module."""
    loader = SourceFileLoader("one_gb_program", str(DEPLOY / "one-gb"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@contextlib.contextmanager
def benchmark_that(does):
    """A program in place of lhttp-bench."""
    with scratch() as folder:
        path = Path(folder) / "lhttp-bench"
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)
        yield path


@unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "it takes two CPUs")
class TheRun(unittest.TestCase):
    def run_with(self, bench, *arguments):
        command = [DEPLOY / "one-gb", "--lhttpd", SOURCES["/lhttpd"], "--bench", bench, "--memory", "256M", *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    def test_connects_no_more_than_lhttpd_takes_and_prints_the_table_though_a_benchmark_fails(self):
        with benchmark_that("echo no such luck >&2; exit 1") as bench:
            done = self.run_with(bench, "--", "--max-connections", "900")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("| all connect at once and subscribe |", done.stdout)
        self.assertIn("| 500 live after ", done.stdout)
        self.assertRegex(done.stdout, r"\| bursts of 10,000 messages \|.*\| failed \|")
        self.assertIn("idle connections lost meanwhile: 0 of 500", done.stdout)
        self.assertIn("| exit code 0 after ", done.stdout)
        self.assertIn("bursts of 10,000 messages: no such luck; 300 readers stall", done.stderr)

    def test_says_at_once_that_lhttpd_does_not_accept_so_many(self):
        for asked, said in [("501", "--connections can be 500 at most"), ("100000", "--connections can be 500 at most")]:
            done = self.run_with("/bin/false", "--connections", asked, "--", "--max-connections", "900")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"takes 900 connections here, 400 are the benchmarks': {said}", done.stderr)
        done = self.run_with("/bin/false", "--", "--max-connections", "400")
        self.assertEqual(done.returncode, 1)
        self.assertIn("that leaves none", done.stderr)

    def test_a_benchmark_that_does_not_end_is_a_fault(self):
        one_gb = program()
        one_gb.BENCHMARK_S = 0.1
        with benchmark_that("exec sleep 600") as bench:
            memory, daemon = Mock(take_peaks=lambda: (0, 0)), Mock(url="ws://127.0.0.1:1/")
            run = one_gb.Run(memory, daemon, Mock(), 1, bench, sorted(os.sched_getaffinity(0)))
            run.burst()
        self.assertEqual(run.faults, ["bursts of 10,000 messages: not done within 0.1 s"])
        self.assertEqual(run.rows[0][:2], ("bursts of 10,000 messages", "failed"))


class ClientsOfAnotherProgram(unittest.TestCase):
    def test_share_the_connections_and_answer_as_one(self):
        # Its arguments are: hold -n COUNT --index INDEX and more.
        answer = """while read -r command; do echo "{\\"live\\": $3, \\"refused\\": $5, \\"lost\\": 2, \\"seconds\\": 0.5}"; done"""
        with benchmark_that(answer) as program, Clients(0, 30_001, [program, "hold"]) as clients:
            self.assertEqual(clients.open(), (30_001, 1, 0.5))
            self.assertEqual(clients.lost(), 4)

    def test_that_end_are_a_fault(self):
        with benchmark_that("exit 1") as program, Clients(0, 10, [program, "hold"]) as clients:
            for process in clients.processes:
                process.wait()
            with self.assertRaises((SystemExit, BrokenPipeError)):
                clients.open()


class MemoryThatIsRefused(unittest.TestCase):
    LIMIT = 32 * MIB

    def setUp(self):
        self.group = memory_of(self.LIMIT)
        if not isinstance(self.group, (Cgroup1, Cgroup2)):
            self.skipTest(self.group.name)
        self.group.__enter__()
        self.addCleanup(self.group.__exit__)

    def run_inside(self, command):
        return subprocess.run(shlex.split(command), preexec_fn=self.group.join, capture_output=True, timeout=PATIENCE_S).returncode

    def times_at_the_limit(self):
        if isinstance(self.group, Cgroup1):
            return self.group.number("memory.failcnt")
        return self.group.table("memory.events")["max"]

    def test_does_not_count_memory_that_the_kernel_frees_by_dropping_file_pages(self):
        # On a disk, because pages of a tmpfs cannot be dropped.
        with tempfile.NamedTemporaryFile(dir=ROOT / "target") as file:
            self.assertEqual(self.run_inside(f"dd if=/dev/zero of={file.name} bs=1M count=96"), 0)
        self.assertGreater(self.times_at_the_limit(), 0)
        self.assertEqual(self.group.refusals(), 0)

    def test_counts_memory_for_which_a_process_is_killed(self):
        code = self.run_inside(f"{sys.executable} -c 'b\"x\" * {2 * self.LIMIT}'")
        self.assertEqual(code, -signal.SIGKILL)
        self.assertGreater(self.group.refusals(), 0)
