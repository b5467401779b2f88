"""Prints the tables of docs/redis.md."""

from kvstore.redis.page import commands_table, errors_table, unsupported_table

print(commands_table(), unsupported_table(), errors_table(), sep="\n\n")
