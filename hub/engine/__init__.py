"""Agents: one seam (`base.Engine`), its implementations, the models and tools they use, and the catalogue of teams."""
