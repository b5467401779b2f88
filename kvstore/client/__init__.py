"""The client library: `AsyncClient` and the blocking `Client` over HTTP, with failover between endpoints and typed
results. docs/python-client.md shows all of it.

```python
async with AsyncClient(["http://127.0.0.1:8480"]) as client:
    await client.put(b"greeting", b"hello")
    record = await client.get(b"greeting")
```
"""

from kvstore.client.batches import BatchOp, BatchResult, Delete, Get, Put
from kvstore.client.client import AsyncClient
from kvstore.client.endpoints import DEFAULT_ENDPOINT, parse_endpoints
from kvstore.client.leases import AsyncLease
from kvstore.client.locks import AsyncElection, AsyncLock, Leader
from kvstore.client.results import KeptAlive, LeaseView, RangeDeleted, RangePage, WriteResult
from kvstore.client.sync import Client
from kvstore.client.sync_parts import Election, Lease, Lock, Watch
from kvstore.client.tracing import traced
from kvstore.client.watching import AsyncWatch, WatchEvent
from kvstore.security.client import Tls

__all__ = [
    "DEFAULT_ENDPOINT",
    "AsyncClient",
    "AsyncElection",
    "AsyncLease",
    "AsyncLock",
    "AsyncWatch",
    "BatchOp",
    "BatchResult",
    "Client",
    "Delete",
    "Election",
    "Get",
    "KeptAlive",
    "Leader",
    "Lease",
    "LeaseView",
    "Lock",
    "Put",
    "RangeDeleted",
    "RangePage",
    "Tls",
    "Watch",
    "WatchEvent",
    "WriteResult",
    "parse_endpoints",
    "traced",
]
