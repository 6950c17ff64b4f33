"""Windows, currencies joined, and figures: revenue, cost, margin."""
