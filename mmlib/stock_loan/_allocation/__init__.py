"""The machinery of `allocation`: the problem, its linear programme, its decomposition."""
