"""What the fleet rules cost: 2,000 nodes with 8 GPUs each, one by one as they arrive, and what is said at the end."""

from __future__ import annotations

import sys
import time
import tracemalloc

import msgspec

from nodectl.demo.recording import Recording
from nodectl.engine.across.rules import FleetRules
from nodectl.fleet.judging import judge
from nodectl.fleet.worker import PlanSpec
from nodectl.model import Node, NodeResult, present
from nodectl.probe.transcript import Transcript

BUDGET_MS = 1.0  # a node
FLEET = 2000
NONCE = "ab" * 16


def fleet(one: NodeResult) -> list[NodeResult]:
    """Nodes like this one: ids of their own, some that drift, values that no two share in memory."""
    encoded = msgspec.msgpack.encode(one)
    decoder = msgspec.msgpack.Decoder(NodeResult)
    nodes = []
    for number in range(FLEET):
        node = decoder.decode(encoded)
        facts = dict(node.facts)
        for name in ("node.machine_id", "node.boot_id", "node.hostname"):
            facts[name] = present(name, f"{number:032x}")
        for row in facts["gpu.devices"].value:
            row["uuid"] = f"GPU-{number}-{row['index']}"
            row["serial"] = f"{number}{row['index']}"
        if number % 50 == 0:
            facts["kernel.release"] = present("kernel.release", f"6.8.0-{number % 400}-generic")
        nodes.append(msgspec.structs.replace(node, node=f"gpu-{number:04}", facts=facts))
    return nodes


def main() -> int:
    spec = PlanSpec(profile="training")
    catalogue = spec.catalogue()
    declared = [Node(name=f"gpu-{number:04}", expect={"gpus": 8}) for number in range(FLEET)]
    plan = spec.plan(catalogue, declared)
    wire = Recording.load().wire(NONCE, list(plan.sources_of(declared[0])))
    one = judge(Transcript(node="gpu-0000", nonce=NONCE, wire=wire, started="2026-11-20T20:06:28Z"), declared[0], plan)
    nodes = fleet(one)

    begun = time.process_time()
    rules = FleetRules(plan.selections, declared, catalogue)
    for node in nodes:
        rules.add(node)
    added = time.process_time()
    findings = rules.findings()
    groups = rules.groups()
    ended = time.process_time()
    per_node_ms = 1000 * (ended - begun) / FLEET

    tracemalloc.start()
    kept = FleetRules(plan.selections, declared, catalogue)
    for node in nodes:
        kept.add(node)
    memory_mib = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    print(f"{FLEET} nodes, {len(one.facts)} facts each, {len(groups)} hardware class")
    print(f"  a node as it arrives {1000 * (added - begun) / FLEET:6.3f} ms CPU")
    print(f"  at the end           {1000 * (ended - added):6.1f} ms CPU for all, {len(findings)} findings")
    print(f"  all in all           {per_node_ms:6.3f} ms CPU a node, budget {BUDGET_MS:.0f} ms")
    print(f"  memory               {memory_mib:6.1f} MiB kept")
    return int(per_node_ms > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
