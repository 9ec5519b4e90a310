"""The demo fleet: fourteen recorded GPU nodes behind real SSH servers on loopback, for a first look at nodectl.

    with demo_fleet() as fleet:
        fleet.nodes          # as an inventory would give them (data/inventory.yaml is one)
        fleet.ssh_config     # how they are reached

On the client's side everything is real: host keys, login with a key, the composed script, the framed reply, the parsers
and the checks. Only the nodes play back what was recorded. It needs no root, no GPU and no network, uses neither the
user's ssh config nor their keys or agent, and leaves nothing behind. What is recorded and what is edited is told in
data/README.md; what is wrong with each node in story.py.
"""

from nodectl.demo.fleet import DemoError, DemoFleet, demo_fleet

__all__ = ["DemoError", "DemoFleet", "demo_fleet"]
