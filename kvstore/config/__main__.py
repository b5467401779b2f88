"""Prints docs/configuration.md."""

import sys

from kvstore.config.page import render_markdown

sys.stdout.write(render_markdown())
