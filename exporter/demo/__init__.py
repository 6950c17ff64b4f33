"""A simulated Stripe account and usage log: used by ``demo``, the tests and the benchmarks."""
