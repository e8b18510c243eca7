"""Embedders: one file per vendor, and the registry that picks one by an agent's choice."""
