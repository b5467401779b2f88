"""TLS of every door: certificates from files, handshakes with bounds, streams, and what is refused and why.

Serving and dialing need nothing but Python's ssl module; what makes certificates (`authority`) knows the library
`cryptography`, an optional extra.
"""
