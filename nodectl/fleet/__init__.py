"""The run: nodes x transport x probe x engine, with results as they arrive."""
