"""The known faults of the consensus engine as it is published, each beside what this store does in the same case."""
