"""What a sweep of a chapter is made of: grid, journal, table, and a preloaded process that forks one child a run."""
