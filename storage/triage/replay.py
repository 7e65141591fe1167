"""History decided again by another policy, from the inputs that decisions keep; nothing is changed."""

from __future__ import annotations

from sqlalchemy.orm import Session

from storage.progress import OnProgress
from storage.triage import kept_decisions
from storage.triage.case import Case
from storage.triage.kept_decisions import KeptDecision, Span, Verdict
from storage.triage.policy import Policy
from storage.triage.replay_tally import Redecided, ReplayResult, Tally
from storage.triage.unknowns import Unknowns


def replay(
    session: Session, span: Span, tally: Tally, *, after: Policy, before: Policy | None, on_progress: OnProgress
) -> ReplayResult:
    """Decide every analysis of a span again by ``after``, beside ``before``, or what was decided then where it is None.

    Rows are read in pages: memory grows by some bytes for each study. ``on_progress`` counts analyses. Inputs that
    cannot be read are counted, and decided by nothing.
    """
    total, unknowns = kept_decisions.count(session, span), Unknowns.of(after)
    for done, kept in enumerate(kept_decisions.decisions(session, span), start=1):
        case = _case(kept, tally)
        if case is not None:
            new = _verdict(after, case)
            old = _verdict(before, case) if before else kept.verdict
            lacks = unknowns.lacking(case, decided_by=new.rule)
            tally.add(Redecided(kept, case.findings, old, new, lacks))
        on_progress(done, total)
    return tally.result()


def compare(session: Session, span: Span, tally: Tally, *, shadow_sha256: str, on_progress: OnProgress) -> ReplayResult:
    """Hold what a policy on trial said of the analyses that it saw against what was decided; nothing is decided anew.

    ``on_progress`` counts analyses. Inputs that cannot be read are counted, for nobody knows then what was found.
    """
    total = kept_decisions.count(session, span, shadow_sha256=shadow_sha256)
    rows = kept_decisions.decisions(session, span, shadow_sha256=shadow_sha256)
    for done, kept in enumerate(rows, start=1):
        case = _case(kept, tally)
        if case is not None and kept.shadow is not None:
            tally.add(Redecided(kept, case.findings, kept.verdict, kept.shadow))
        on_progress(done, total)
    return tally.result()


def _case(kept: KeptDecision, tally: Tally) -> Case | None:
    try:
        return Case.of_inputs(kept.inputs, route=kept.route, decided_at=kept.analysed_at)
    except (ValueError, KeyError, TypeError):
        tally.unreadable += 1
        return None


def _verdict(policy: Policy, case: Case) -> Verdict:
    decision = policy.decide(case)
    return Verdict(decision.priority, decision.rule)
