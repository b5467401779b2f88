"""`python -m kvcli` is `kv`."""

from kvcli.main import main

main()
