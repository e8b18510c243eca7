"""Labelled sets, and what measures Dragoman on them."""
