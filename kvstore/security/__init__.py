"""Who somebody is, and doors that only they can read at. Nothing here knows what anybody may do; that is in
`kvstore.state.auth`, and asked by `kvstore.guard`.

    passwords.py     records of passwords (scrypt), made and checked off the loop
    tries.py         how often passwords may be tried
    tokens.py        the short tokens that this cluster signs
    jwt_tokens.py    tokens of somebody else's making (JWT); the one file that knows PyJWT
    key_file.py      the keys for those, read anew when their file changes
    peer_names.py    the user that a client certificate names

The rest is TLS of every door: certificates from files, handshakes with bounds, streams, and what is refused and why.
Serving and dialing need nothing but Python's ssl module; what makes certificates (`authority`) knows the library
`cryptography`, an optional extra.
"""
