"""The nouns of Dragoman: frozen data and pure functions. Knows the standard library and nothing else."""
