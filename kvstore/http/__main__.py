"""Puts the table of all calls into the page that is named: `python -m kvstore.http docs/http-api.md`."""

import sys
from pathlib import Path

from kvstore.http.call_table import renewed

if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
