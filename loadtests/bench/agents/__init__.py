"""Whole agent servers side by side: see the README of the folder above."""
