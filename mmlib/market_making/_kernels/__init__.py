"""Compiled code of the market-making part; the modules above it hold the theory."""
