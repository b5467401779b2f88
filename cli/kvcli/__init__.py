"""The command line: `kv`. Commands are imported when they are called, so that `kv` itself starts at once."""
