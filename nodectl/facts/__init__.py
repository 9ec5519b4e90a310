"""Facts: what is declared about a node (registry), one parser module per source, and how a transcript becomes facts."""
