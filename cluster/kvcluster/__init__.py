"""Clusters of real processes on this machine: their names, ports and files, and the hand that starts and stops them."""
