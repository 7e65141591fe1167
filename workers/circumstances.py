"""What surrounds the answers of one job, and the policies in force for it, read before anything is judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage import jobs, peers
from storage.care_settings import CareSetting
from storage.domain import TriageDecision
from storage.triage import policies
from storage.triage.case import Case, Circumstances
from storage.triage.earlier_results import earlier_result
from storage.triage.policies import PoliciesInForce
from workers.answers import Answer
from workers.assignments import Assignment
from workers.order_words import setting_of_image
from workers.resources import PipelineResources


@dataclass(frozen=True, slots=True)
class Triage:
    """The policies in force for one job, and what surrounds what they decide."""

    policies: PoliciesInForce
    circumstances: Circumstances

    def decide(self, answer: Answer) -> TriageDecision:
        """Return the priority that the policy which holds gives an answer."""
        return self.policies.live.decide(self._case(answer))

    def try_shadows(self, answer: Answer) -> tuple[TriageDecision, ...]:
        """Return what the policies on trial say of it, from the same inputs."""
        case = self._case(answer)
        return tuple(policy.decide(case) for policy in self.policies.shadows)

    def _case(self, answer: Answer) -> Case:
        return Case.of(
            answer.findings,
            self.circumstances,
            case_score=answer.case_score,
            out_of_distribution=answer.out_of_distribution,
        )


def load_triage(resources: PipelineResources, held: jobs.Claim, assignment: Assignment, *, now: datetime) -> Triage:
    """Read what is in force and what surrounds a job; PolicyInvalid where the policy that decides cannot be read.

    With none promoted the policy of the settings decides, and is put on record.
    """
    policies.put_on_record(resources.database, resources.policy, actor=held.owner, now=now)
    with resources.database.read() as session:
        found = policies.in_force(session, resources.policy)
        setting = peers.care_setting(session, assignment.calling_aets)
        earlier = earlier_result(session, held.study_id, assignment.route.name)
    around = Circumstances(
        lane=assignment.lane,
        route=assignment.route.name,
        setting=setting or _setting_of_order(resources, assignment),
        decided_at=now,
        earlier=earlier,
    )
    return Triage(found, around)


def _setting_of_order(resources: PipelineResources, assignment: Assignment) -> CareSetting | None:
    if not assignment.instances:
        return None
    return setting_of_image(assignment.instances[0], resources.objects)
