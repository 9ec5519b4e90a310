"""nodectl: health checks, telemetry and fix-up scripts for GPU nodes, over SSH, with nothing installed on them."""

__version__ = "0.1.0"
