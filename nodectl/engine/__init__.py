"""The engine: facts held against the catalogue give findings."""
