"""Debian's Chromium, if it is there: the one way in which tests find it."""

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Root has no sandbox of Chromium's; what is shown is this project's own.
SANDBOX = ["--no-sandbox"] if os.geteuid() == 0 else []

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed; cluster/install-extras.sh installs it"
)
