"""Measurements of whole clusters on one machine; docs/benchmarks.md tells what they say.

compare.py runs the clusters of others (clusters/) beside ours under the same work, by load generators (generators/);
one file for each system that is compared (systems/). What came of it: rows.py, table.py, goals.py, plot.py, page.py.
"""
