"""Facts that alike nodes share are never changed by who judges, compares or reports them."""

from __future__ import annotations

import copy
import json

import msgspec

from nodectl.demo.story import FLEET, Door
from nodectl.engine.across.rules import FleetRules
from nodectl.facts import gather as gathering
from nodectl.fleet.judging import judge
from nodectl.fleet.worker import PlanSpec
from nodectl.model import Node
from nodectl.probe.transcript import Transcript
from nodectl.report.build import build_report

NONCE = "0123456789abcdef0123456789abcdef"


def test_nobody_changes_the_facts_of_another_node() -> None:
    spec = PlanSpec(profile="training")
    catalogue = spec.catalogue()
    stories = [story for story in FLEET if story.door is Door.OPEN]
    nodes = [Node(name=story.name, expect={"gpus": 8, "model": "H200"}) for story in stories]
    plan = spec.plan(catalogue, nodes)
    rules = FleetRules(plan.selections, nodes, catalogue)
    gathering._parsed_once.cache_clear()
    results, before = [], []
    for story, node in zip(stories, nodes, strict=True):
        wire = story.recording().wire(NONCE, list(plan.sources_of(node)))
        results.append(judge(Transcript(node=node.name, nonce=NONCE, wire=wire), node, plan))
        before.append(copy.deepcopy(results[-1].facts))
        rules.add(results[-1])
    assert gathering._parsed_once.cache_info().hits > 100
    build_report(results, catalogue, plan.selections, argv=[], exit_code=0)
    assert [result.facts for result in results] == before
    alone = []
    for story, node in zip(stories, nodes, strict=True):
        gathering._parsed_once.cache_clear()
        wire = story.recording().wire(NONCE, list(plan.sources_of(node)))
        alone.append(judge(Transcript(node=node.name, nonce=NONCE, wire=wire), node, plan))
    together = json.loads(msgspec.json.encode([result.facts for result in results]))
    assert together == json.loads(msgspec.json.encode([result.facts for result in alone]))
