"""`kv doctor`: what may be wrong with a cluster, found by small checks from what its nodes tell."""
