"""`python -m kvstore.telemetry > docs/metrics.md`."""

from kvstore.telemetry.catalogue import page

if __name__ == "__main__":
    print(page(), end="")
