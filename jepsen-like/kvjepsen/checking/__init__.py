"""Checkers: pure functions over a history, one idea a file. Each gives a small frozen result with its witness."""
