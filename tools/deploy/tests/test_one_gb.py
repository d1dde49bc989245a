"""The program that measures lhttpd on 1 GB: what it does where lhttpd, or a benchmark, does not do what it should."""

import contextlib
import os
import subprocess
import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from unittest.mock import Mock

from .image import SOURCES
from .sandbox import DEPLOY, own_network, scratch

setUpModule = own_network


def program():
    """The program as a module."""
    loader = SourceFileLoader("one_gb_program", str(DEPLOY / "one-gb"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@contextlib.contextmanager
def benchmark_that(does):
    """A program in the place of lhttp-bench."""
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

    def test_says_at_once_that_lhttpd_does_not_take_so_many(self):
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
            run = one_gb.Run(Mock(take_peaks=lambda: (0, 0)), Mock(), Mock(), 1, bench, sorted(os.sched_getaffinity(0)))
            run.burst()
        self.assertEqual(run.faults, ["bursts of 10,000 messages: not done within 0.1 s"])
        self.assertEqual(run.rows[0][:2], ("bursts of 10,000 messages", "failed"))
