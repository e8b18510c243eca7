"""``python -m lints`` at the root of the repository: prints what breaks a rule of the house, and then fails."""

import sys
from pathlib import Path

from lints.bounds import bounds
from lints.house import House
from lints.sql import sql
from lints.tenants import tenants
from lints.transactions import transactions
from lints.words import words

LINTS = (bounds, tenants, transactions, words, sql)


def main(root: Path) -> int:
    """The exit status: 1 where anything was found."""
    house = House(root)
    findings = sorted({str(finding) for lint in LINTS for finding in lint(house)})
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
