"""What the ports mean on real parts: one folder per port, one file per vendor. Knows no service."""
