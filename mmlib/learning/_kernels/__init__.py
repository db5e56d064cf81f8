"""Compiled code of the learning part; the modules above it hold the definitions."""
