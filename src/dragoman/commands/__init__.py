"""Groups of the `dragoman` command, a file each, which `cli` puts together. What is heavy is imported late."""
