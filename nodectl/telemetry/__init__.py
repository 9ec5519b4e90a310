"""Live telemetry: the agent that is streamed to a node, the reader of what it sends, and the store of it."""
