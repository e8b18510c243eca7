"""`python -m faults`: the tests of tests/faults with the counts of a real trial, further arguments going to pytest."""

import os
import subprocess
import sys

if __name__ == "__main__":
    environment = {**os.environ, "DRAGOMAN_FAULTS": "full"}
    command = [sys.executable, "-m", "pytest", "tests/faults", "-v", *sys.argv[1:]]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)
