"""Compiled code of the order-book part; the modules above it hold the definitions."""
