"""What the bytes in a store mean: weights, charters, manifests. Each has one sequence of bytes, so one address."""
