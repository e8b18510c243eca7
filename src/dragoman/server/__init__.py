"""What every router shares: credentials, errors in the owner's shape, bodies, streams. Knows no dialect."""
