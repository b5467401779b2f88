"""`kv shell`: the commands of `kv`, line by line; no grammar of its own but for lines that begin with a dot."""
