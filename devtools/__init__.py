"""The commands of `dev.py`, which need nothing but Python."""
