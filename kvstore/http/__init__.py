"""The HTTP door: raw bytes in, raw bytes out, over the narrow `Store` that it consumes."""

from kvstore.http.app import HttpServer
from kvstore.http.store import Store

__all__ = ["HttpServer", "Store"]
