"""What every other folder may use: the error tree, clocks, hashing. Standard library and numpy only, plus `xxhash`."""
