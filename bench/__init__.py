"""Dragoman's speed beside the least that a durable chat server can cost, measured in one run."""
