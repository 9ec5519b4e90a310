"""The command line: one file a command, exit codes in one place."""
