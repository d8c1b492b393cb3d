"""Benchmarks: each a suite of data, protocols and published numbers, found by name or by import path."""

from dnamamba.suite.base import Published, Row, Source, Suite
from dnamamba.suite.registry import SUITES, find_suite
from dnamamba.suite.running import run_benchmark

__all__ = ["SUITES", "Published", "Row", "Source", "Suite", "find_suite", "run_benchmark"]
