"""From a transcript to a node's result: parse the facts, evaluate the checks."""

from __future__ import annotations

from nodectl.engine import declared
from nodectl.engine.evaluate import evaluate
from nodectl.facts.gather import gather
from nodectl.fleet.plan import Plan
from nodectl.model import Node, NodeResult, NodeState, Reason, Unreachable
from nodectl.probe.transcript import Transcript


def judge(transcript: Transcript, node: Node, plan: Plan) -> NodeResult:
    """What a transcript says of its node, under the node's profile. Never raises for what a node said."""
    if not transcript.reached:
        return unjudged(transcript, node, transcript.reason)
    selection = plan.selection_of(node)
    facts = gather(transcript, plan.facts_of(node), node)
    return NodeResult(
        node=node.name,
        address=transcript.address,
        state=NodeState.REACHED,
        reason=transcript.reason,
        started=transcript.started,
        duration_ms=transcript.duration_ms,
        host_key=transcript.host_key,
        facts=facts,
        findings=(*evaluate(selection, facts, node.name), *declared.findings(selection.fleet, facts, node)),
    )


def unjudged(transcript: Transcript, node: Node, reason: Reason | None) -> NodeResult:
    """A node of which nothing can be said but why."""
    return NodeResult(
        node=node.name,
        address=transcript.address,
        state=NodeState.UNREACHABLE,
        reason=reason or Reason(Unreachable.PROBE_FAILED.value, "no reason was recorded"),
        started=transcript.started,
        duration_ms=transcript.duration_ms,
        host_key=transcript.host_key,
    )
