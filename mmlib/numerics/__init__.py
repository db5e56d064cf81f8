"""Mathematics that knows no market: random streams, tridiagonal systems, generators of Markov chains."""
