"""Runs: claimed under a lease, executed turn by turn, checkpointed after each, handed over when a worker goes away."""
