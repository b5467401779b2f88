"""kvstore: a replicated key-value store with a write level per request."""

__version__ = "0.1.0"
