"""Limiters: one file per place where counts live."""
