"""Tests of the quality measurement: data, sandbox, statistics, and whole runs."""
