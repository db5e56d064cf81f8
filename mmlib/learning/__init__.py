"""Learning to make markets where the optimum is known, so that regret is a number without an error bar.

The environments step in Avellaneda & Stoikov's scheme of probabilities. A policy, read off on the grid of times and
inventories, is a `Quotes`; so its value, and the optimum of the very chain in which it was trained, are computed.
"""
