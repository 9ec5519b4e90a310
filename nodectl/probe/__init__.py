"""What is asked of a node: small read-only sources, composed into one POSIX sh script, and its framed reply."""
