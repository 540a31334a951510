"""All tests of one machine: python3 -m tests.vm.guest.main EXPECTATIONS. Runs as a child of process 1."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.vm.guest import bench, cases, compiled, engine, handover, identity, judged, pins, systemd, trial
from tests.vm.guest.report import Report


def main(expectations: Path) -> int:
    """Play every case; return how many failed, at most 100."""
    report = Report()
    report.tell("active LSMs", Path("/sys/kernel/security/lsm").read_text("ascii"))
    wanted = json.loads(expectations.read_text("utf-8"))
    if wanted["bench"]:
        for rung in wanted["bench"]:
            bench.cost(report, rung)
    elif wanted["systemd"]:
        with report.case("systemd: comes up"):
            systemd.the_whole_system_is_walled(report, wanted["systemd"])
    elif wanted["engine"]:
        with report.case("engine: comes up"):
            engine.containers_are_walled_off(report, wanted["engine"])
    elif wanted["auto"] == "bcc":
        with report.case("bcc: in force"):
            compiled.the_compiled_rung_holds(report)
    else:
        _rungs(report, wanted["rungs"])
        if wanted["auto"] != "none":
            with report.case("life: in force"):
                cases.life_is_told(report)
        cases.the_ladder_by_itself(report, wanted["auto"])
        trial.a_doctor_tells_what_each_rung_is_worth(report, wanted["rungs"])
        if wanted["rungs"]["fmod_ret"] == "holds":
            trial.pins_are_told_with_their_agent(report, "fmod_ret")
    report.close()
    return min(report.failed, 100)


def _rungs(report: Report, rungs: dict[str, str]) -> None:
    cases.every_program_passes_the_verifier(report, rungs)
    for rung, wanted in rungs.items():
        # A rung that cannot be put in force fails as one case, and the others are still asked.
        if wanted == "found out":
            cases.the_canary_finds_out_a_rung_that_never_fires(report, rung)
        elif wanted == "refused":
            cases.the_kernel_refuses_a_rung(report, rung)
        else:
            with report.case(f"{rung}: in force"):
                if rung in cases.BLOCKING:
                    cases.a_blocking_rung_holds(report, rung)
                    handover.a_connection_cannot_be_handed_over(report, rung)
                    judged.verdicts_hold_by_cgroup(report, rung)
                    judged.a_flood_of_one_cgroup_hides_nothing_of_another(report, rung)
                    cases.a_flood_does_not_open_a_blocking_rung(report, rung)
                    cases.the_agent_may_have_a_namespace_of_its_own(report, rung)
                    pins.pins_outlive_the_agent(report, rung, rungs)
                else:
                    cases.a_killing_rung_holds(report, rung)
                if rung in (*cases.BLOCKING, "kprobe"):
                    cases.the_connector_is_known_by_the_accepted_descriptor(report, rung)
                    identity.clients_are_who_they_were(report, rung)
                    judged.the_canary_is_enforced_in_every_mode(report, rung)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
