"""The vocabulary of the store: commands that go into the log, answers that come out. Pure, no I/O."""
