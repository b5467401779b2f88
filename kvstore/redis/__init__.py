"""The Redis door: RESP2 and RESP3 to the same services and errors as HTTP (docs/redis.md).

Nothing outside this package knows the protocol; nothing inside knows how a node keeps its promises
(`kvstore.redis.store` is all it needs of it).
"""

from kvstore.redis.door import RedisServer

__all__ = ["RedisServer"]
