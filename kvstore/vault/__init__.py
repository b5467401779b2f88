"""Encryption at rest: what a node keeps on its disk can be read only with its keys. Optional; without keys nothing of
this is used, and files are as they always were.

**Envelopes.** A key of the key file (a *master key*, 32 bytes, known by a number) never encrypts data. Each file has a
random *data key* of its own, which stands in the file's header, wrapped (AES-256-GCM) by the master key that was active
when the file was begun. The header names that key's number and has a fingerprint of it. What a header says in clear
(number in the row, salt, where the segment before it ended, term, vote, ...) is bound to the wrapped key: a header that
was changed opens nothing. So

- a rotation is nothing but another active key: new files take it, old ones stay readable for as long as their key is in
  the key file, and are gone once the log was cut and a new snapshot taken (`kvstore.node.renewal` sees to both);
- a file without its key, or with another key under the same number, is told from a damaged one (`WrongKey`), before
  anything is believed or changed: never does a wrong key look like an empty store.

**Nonces.** None is ever used twice under one key. Master keys: 96 random bits for each file that is begun. Snapshots
and backups: the number of the chunk, because a data key belongs to one file, and that is written once, in order; one
that fails is begun anew, under another data key. Segments of the journal: 96 random bits for each group. Not the
offset: a group that was torn by a crash is cut, and another one is written at the same place. A segment holds at most
some 10^5 groups, so that two are alike with a chance below 10^-18.

**What is bound to what.** A group to its data key, and by the GROUP record before it (salt, offset, mark) to its place;
a chunk to its data key, its number, and to whether it is the last one. Nothing can be moved, swapped, dropped from the
middle or cut off, but for what the form of the journal allows: the last group of the last segment may be torn.

**What it is not.** Whole files can be put back to what they were before, and plain files be put in the place of
encrypted ones, because a directory may hold both: it is a protection against who reads the disk, not against who
writes it. Lengths and times show.

    cipher.py    AES-256-GCM; the one file that knows the library `cryptography`
    keys.py      the key file and the key command
    envelope.py  data keys, wrapped and unwrapped
    keeper.py    keys that are read anew while the node runs
"""
