"""The house's own rules, held over the syntax tree. Knows no rule that ruff, mypy or import-linter can hold."""
