"""What a sweep will cost, and what its jobs ask of a cluster."""
