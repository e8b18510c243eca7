"""Tools that run on the server: one file per kind, and the registry that knows them all. Knows no turn."""
