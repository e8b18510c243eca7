"""Dragoman: one server, five published Chat APIs, one durable core."""
