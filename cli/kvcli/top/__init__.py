"""`kv top`: a cluster at work, frame by frame."""
