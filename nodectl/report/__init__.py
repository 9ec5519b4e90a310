"""One run as one value (model.Report), and the formats rendered from it: one module a format."""
