"""Use cases, a verb each. Knows no HTTP, no SQL and no vendor."""
