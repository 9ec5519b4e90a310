"""all, any, not and each: the answer, and what is said of which row."""

from __future__ import annotations

from typing import Any

from small_catalogue import compiled, context, facts_of

from nodectl.catalogue.truth import FALSE, NOT_APPLICABLE, TRUE, UNKNOWN, Truth, Verdict

BROKEN = Exception("timed out")
GPU = "each: gpu.devices, label: 'GPU {index}'"


def run(expectation: str, rows: Any = None, **facts: Any) -> tuple[Truth, list[Verdict]]:
    expression = compiled(expectation)
    given = facts_of(gpu__devices=rows, **facts)
    truth, verdicts = expression.run(context(given))
    assert expression.test(context(given)) is truth
    assert expression.explain(context(given)).truth is truth
    return truth, verdicts


def gpus(**columns: list[Any]) -> list[dict[str, Any]]:
    size = len(next(iter(columns.values())))
    return [{"index": at, **{name: values[at] for name, values in columns.items()}} for at in range(size)]


def test_every_row_that_is_not_fine_is_said() -> None:
    truth, verdicts = run(
        f"{{{GPU}, that: {{field: persistence_mode, is: true}}}}", gpus(persistence_mode=[True, False, True, False])
    )
    assert truth is FALSE
    assert verdicts == [
        Verdict(FALSE, "on", "off", "", "GPU 1"),
        Verdict(FALSE, "on", "off", "", "GPU 3"),
    ]


def test_one_word_for_all_rows_that_are_fine() -> None:
    truth, verdicts = run(
        f"{{{GPU}, that: {{field: persistence_mode, is: true}}}}", gpus(persistence_mode=[True, True])
    )
    assert (truth, verdicts) == (TRUE, [Verdict(TRUE, "on", "2 of 2")])


def test_a_row_compared_with_itself_shows_its_own_numbers() -> None:
    truth, verdicts = run(
        f"{{{GPU}, that: {{field: power_limit_w, ge: {{field: power_default_limit_w}}}}}}",
        gpus(power_limit_w=[700.0, 400.0], power_default_limit_w=[700.0, 700.0]),
    )
    assert truth is FALSE
    assert verdicts == [Verdict(FALSE, "at least power_default_limit_w (700 W)", "400 W", "", "GPU 1")]


def test_a_field_that_could_not_be_read_is_unknown_for_its_row_only() -> None:
    rows = gpus(persistence_mode=[True, None])
    rows[1]["_errors"] = {"persistence_mode": "GPU is lost"}
    truth, verdicts = run(f"{{{GPU}, that: {{field: persistence_mode, is: true}}}}", rows)
    assert (truth, verdicts) == (UNKNOWN, [Verdict(UNKNOWN, "on", "", "persistence_mode: GPU is lost", "GPU 1")])


def test_an_error_stands_even_beside_a_value() -> None:
    rows = gpus(persistence_mode=[True])
    rows[0]["_errors"] = {"persistence_mode": "GPU is lost"}
    assert run(f"{{{GPU}, that: {{field: persistence_mode, is: true}}}}", rows)[0] is UNKNOWN


def test_a_field_that_the_device_has_not_is_absent() -> None:
    that = "that: {field: ecc_current, is: true"
    rows = gpus(ecc_current=[True, None])
    truth, verdicts = run(f"{{{GPU}, {that}}}}}", rows)
    reason = "ecc_current: not reported by this device or driver"
    assert (truth, verdicts) == (UNKNOWN, [Verdict(UNKNOWN, "on", "absent", reason, "GPU 1")])
    del rows[1]["ecc_current"]
    assert run(f"{{{GPU}, {that}}}}}", rows)[0] is UNKNOWN
    assert run(f"{{{GPU}, {that}, if_absent: fail}}}}", rows)[0] is FALSE
    truth, verdicts = run(f"{{{GPU}, {that}, if_absent: not_applicable}}}}", rows)
    assert (truth, verdicts[0].actual) == (TRUE, "1 of 1 (1 not judged)")


def test_rows_to_which_nothing_applies() -> None:
    truth, verdicts = run(
        f"{{{GPU}, that: {{field: ecc_current, is: true, if_absent: not_applicable}}}}", gpus(ecc_current=[None, None])
    )
    assert truth is NOT_APPLICABLE
    assert verdicts[0].reason == "it applies to none of the 2 in gpu.devices"


def test_nothing_to_judge_is_unknown_unless_allowed() -> None:
    that = "that: {field: persistence_mode, is: true}"
    truth, verdicts = run(f"{{{GPU}, {that}}}", [])
    assert (truth, verdicts[0].reason) == (UNKNOWN, "gpu.devices has nothing that could be judged")
    assert run(f"{{{GPU}, {that}, allow_empty: true}}", []) == (TRUE, [Verdict(TRUE, "on", "none")])


def test_a_table_that_is_gone() -> None:
    that = "that: {field: persistence_mode, is: true}"
    assert run(f"{{{GPU}, {that}, allow_empty: true}}", BROKEN)[0] is UNKNOWN
    assert run(f"{{{GPU}, {that}, allow_empty: true}}", None)[0] is UNKNOWN
    assert run(f"{{{GPU}, {that}, if_absent: not_applicable}}", None)[0] is NOT_APPLICABLE
    assert run(f"{{{GPU}, {that}, if_absent: not_applicable}}", BROKEN)[0] is UNKNOWN
    assert run(f"{{{GPU}, {that}}}", "not a table")[0] is UNKNOWN
    assert run(f"{{{GPU}, {that}}}", ["not a row"])[0] is UNKNOWN


def test_where_chooses_rows() -> None:
    rows = gpus(name=["H200", "DGX Display", "H200"], persistence_mode=[True, False, True])
    rows[2]["_errors"] = {"name": "GPU is lost"}
    truth, verdicts = run(
        f"{{{GPU}, where: {{field: name, ne: DGX Display}}, that: {{field: persistence_mode, is: true}}}}", rows
    )
    assert (truth, verdicts) == (UNKNOWN, [Verdict(UNKNOWN, "on", "", "name: GPU is lost", "GPU 2")])
    truth, verdicts = run(
        f"{{{GPU}, where: {{field: name, eq: none}}, that: {{field: persistence_mode, is: true}}}}", rows[:2]
    )
    assert truth is UNKNOWN


def test_counts_rows() -> None:
    at_least = f"{{{GPU}, at_least: 2, that: {{field: persistence_mode, is: true}}}}"
    truth, verdicts = run(at_least, gpus(persistence_mode=[True, False, True]))
    assert (truth, verdicts) == (TRUE, [Verdict(TRUE, "at least 2 with persistence_mode on", "2 of 3")])
    rows = gpus(persistence_mode=[True, False, None])
    rows[2]["_errors"] = {"persistence_mode": "lost"}
    truth, verdicts = run(at_least, rows)
    assert (truth, verdicts[0].reason) == (UNKNOWN, "1 of 3 could not be told")
    assert run(at_least, gpus(persistence_mode=[True, False, False]))[0] is FALSE
    assert run(at_least, [])[0] is FALSE
    assert run(at_least, BROKEN)[0] is UNKNOWN


def test_counts_against_a_fact() -> None:
    at_least = f"{{{GPU}, at_least: {{fact: expect.gpus}}, that: {{field: persistence_mode, is: true}}}}"
    rows = gpus(persistence_mode=[True, True])
    assert run(at_least, rows, expect__gpus=2)[0] is TRUE
    assert run(at_least, rows, expect__gpus=3)[0] is FALSE
    assert run(at_least, rows, expect__gpus="many")[0] is UNKNOWN
    assert run(at_least, rows, expect__gpus=None)[0] is UNKNOWN
    assert run(at_least, [], expect__gpus=0)[0] is UNKNOWN


def test_a_list_has_one_field() -> None:
    expression = compiled("{each: gpu.models, that: {field: value, as: str, matches: 'H.*'}}")
    truth, verdicts = expression.run(context(facts_of(gpu__models=["H100", "A100"])))
    assert truth is FALSE
    assert [(verdict.subject, verdict.actual) for verdict in verdicts] == [("A100", "A100")]


def test_a_dotted_field_reaches_into_a_field() -> None:
    that = "that: {field: remap_banks.none, as: int, eq: 0}"
    assert run(f"{{{GPU}, {that}}}", gpus(remap_banks=[{"none": 0}]))[0] is TRUE
    assert run(f"{{{GPU}, {that}}}", gpus(remap_banks=[{"none": 2}]))[0] is FALSE
    assert run(f"{{{GPU}, {that}}}", gpus(remap_banks=[{}]))[0] is UNKNOWN
    assert run(f"{{{GPU}, {that}}}", gpus(remap_banks=[3]))[0] is UNKNOWN


def test_all_names_what_it_is_about() -> None:
    expectation = "{all: [{fact: gpu.count, ge: 1}, {fact: virt.is_vm, is: false}, {fact: os.id, eq: rhel}]}"
    truth, verdicts = run(expectation, gpu__count=0, virt__is_vm=True, os__id="rhel")
    assert truth is FALSE
    assert [(verdict.expected, verdict.actual) for verdict in verdicts] == [
        ("gpu.count at least 1", "gpu.count 0"),
        ("virt.is_vm no", "virt.is_vm yes"),
    ]
    truth, verdicts = run(expectation, gpu__count=1, virt__is_vm=BROKEN, os__id="rhel")
    assert (truth, [verdict.reason for verdict in verdicts]) == (UNKNOWN, ["virt.is_vm: timed out"])


def test_any_says_every_way_it_could_have_been_fine() -> None:
    expectation = "{any: [{fact: gpu.count, ge: 1}, {fact: virt.is_vm, is: true}]}"
    truth, (verdict,) = run(expectation, gpu__count=0, virt__is_vm=False)
    assert truth is FALSE
    assert (verdict.expected, verdict.actual) == (
        "gpu.count at least 1 or virt.is_vm yes",
        "gpu.count 0, virt.is_vm no",
    )
    assert run(expectation, gpu__count=1, virt__is_vm=BROKEN)[0] is TRUE
    assert run(expectation, gpu__count=0, virt__is_vm=BROKEN)[0] is UNKNOWN


def test_not() -> None:
    truth, (verdict,) = run("{not: {fact: os.id, eq: rhel}}", os__id="rhel")
    assert (truth, verdict.expected, verdict.actual) == (FALSE, "not rhel", "rhel")
    assert run("{not: {fact: os.id, eq: rhel}}", os__id="sles")[0] is TRUE


ROW = "{fact: 'service[x]', field: "


def test_a_check_of_one_row_names_its_fields_only() -> None:
    expectation = (
        f"{{all: [{ROW}active_state, eq: active}}, {{any: [{ROW}restarts, le: 3}}, {ROW}restarts, eq: 9}}]}}]}}"
    )
    expression = compiled(expectation, whole=True)
    row = {"active_state": "failed", "restarts": 5}
    _, (state, restarts) = expression.run(context(facts_of(**{"service[x]": row})))
    assert (state.expected, state.actual) == ("active_state active", "active_state failed")
    assert (restarts.expected, restarts.actual) == ("restarts at most 3 or restarts 9", "restarts 5")
    # Where its text does not say which row, the reason does.
    verdict = expression.explain(context(facts_of(**{"service[x]": None})))
    assert (verdict.truth, verdict.actual, verdict.reason) == (UNKNOWN, "absent", "service[x]: not there")
    part = expression.explain(context(facts_of(**{"service[x]": {"active_state": "active", "restarts": None}})))
    assert (part.actual, part.truth) == ("restarts absent", UNKNOWN)


def test_a_check_of_several_facts_names_them_whole() -> None:
    expectation = f"{{all: [{ROW}active_state, eq: active}}, {{fact: os.id, eq: rhel}}]}}"
    verdict = compiled(expectation, whole=True).explain(context(facts_of(**{"service[x]": {"active_state": "dead"}})))
    assert (verdict.expected, verdict.actual) == ("service[x] active_state active", "service[x] active_state dead")
    gone = compiled(expectation, whole=True).explain(context(facts_of(**{"service[x]": None}, os__id="rhel")))
    assert (gone.expected, gone.actual) == ("service[x] active_state active", "service[x] absent")


def test_tables_inside_all_keep_their_rows_apart() -> None:
    expectation = f"""
      all:
        - {{fact: gpu.count, eq: 2}}
        - {{{GPU}, that: {{field: persistence_mode, is: true}}}}
        - {{{GPU}, that: {{field: ecc_current, is: true}}}}
    """
    truth, verdicts = run(expectation, gpus(persistence_mode=[False, True], ecc_current=[False, None]), gpu__count=2)
    assert truth is FALSE
    assert [(verdict.subject, verdict.truth) for verdict in verdicts] == [
        ("GPU 0", FALSE),
        ("GPU 0", FALSE),
        ("GPU 1", UNKNOWN),
    ]


def of_two_vendors(fabric: Any) -> list[dict[str, Any]]:
    """A GPU of NVIDIA's, which has a fabric, and one of AMD's, which has no such field."""
    return [{"index": 0, "vendor": "nvidia", "fabric": fabric}, {"index": 1, "vendor": "amd"}]


def test_a_field_of_one_vendor_is_not_applicable_to_the_rows_of_others() -> None:
    for operator in ("eq: up", "if_absent: fail, eq: up", "if_absent: fail, one_of: [up]", "present: true"):
        expectation = f"{{{GPU}, that: {{field: fabric, {operator}}}}}"
        truth, verdicts = run(expectation, of_two_vendors("up"))
        assert (truth, verdicts[0].actual) == (TRUE, "1 of 1 (1 not judged)"), operator
        assert run(expectation, of_two_vendors("up")[1:])[0] is NOT_APPLICABLE, operator


def test_a_field_of_one_vendor_is_still_judged_in_its_own_rows() -> None:
    truth, verdicts = run(f"{{{GPU}, that: {{field: fabric, eq: up}}}}", of_two_vendors("down"))
    assert (truth, [verdict.subject for verdict in verdicts]) == (FALSE, ["GPU 0"])
    assert run(f"{{{GPU}, that: {{field: fabric, eq: up}}}}", of_two_vendors(None))[0] is UNKNOWN
    # A row that does not say whose it is (an older report) is taken to have every field.
    assert run(f"{{{GPU}, that: {{field: fabric, eq: up}}}}", [{"index": 0}])[0] is UNKNOWN


def test_rows_of_other_vendors_are_left_out_of_counts_and_choices() -> None:
    count = f"{{{GPU}, at_least: 1, that: {{field: fabric, eq: up}}}}"
    assert run(count, of_two_vendors("up"))[0] is TRUE
    assert run(count, of_two_vendors("up")[1:])[0] is FALSE
    chosen = f"{{{GPU}, where: {{field: fabric, eq: up}}, that: {{field: index, eq: 0}}}}"
    assert run(chosen, of_two_vendors("up"))[0] is TRUE
