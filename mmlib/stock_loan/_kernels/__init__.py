"""Compiled loops of the stock-loan half: arrays in, arrays out, no checks."""
