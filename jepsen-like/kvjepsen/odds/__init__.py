"""The odds on real and on simulated clusters: which subsets of nodes may fail, level by level, against the formulas."""
