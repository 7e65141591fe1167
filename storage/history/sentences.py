"""Events told in words: a sentence for each kind, filled in with what the event holds."""

from __future__ import annotations

import json
from collections.abc import Mapping

from storage.audit import AuditEvent

_SENTENCES: Mapping[str, str] = {
    "study:opened": "The first image arrived from {actor}, in lane {lane}",
    "study:closed": "The study was complete with {instances} images, revision {revision}",
    "study:waiting": "The study was quiet, and waits for {reason}",
    "study:counted": "The source of the study holds {expected} images",
    "study:count-failed": "The source of the study did not say how many images it holds: {code}",
    "study:held": "The study was held back at its deadline: {reason} missing",
    "study:set-aside": "The study was set aside at its deadline: {reason} missing",
    "study:released": "{actor} released the study",
    "study:reopened": "A late image from {actor} opened revision {revision}",
    "study:rerouted": "{actor} had its routes asked again, revision {revision}",
    "study:patient-changed": "A corrected image from {actor} named another patient",
    "study:routed": "The routes were asked",
    "study:not-applicable": "No route wanted the study",
    "study:analysed": "{algorithm} found {lesions} lesions on route {route}",
    "study:prioritised": "It was given the priority {priority} by the rule «{rule}»",
    "triage:configured": "The triage policy {name} of the settings decides from now on",
    "triage:promoted": "{actor} had the triage policy {name} decide from now on: {reason}",
    "triage:shadowed": "{actor} had the triage policy {name} tried beside the one that decides: {reason}",
    "triage:retired": "{actor} retired the triage policy {name}: {reason}",
    "study:made-urgent": "The result of job {job} made it urgent: {priority}",
    "study:seen": "{actor} opened the urgent study",
    "study:escalated": "Nobody had opened it: {channel} was told",
    "study:urgency-ended": "A later result took the priority {priority} away, or gave another",
    "study:images-deleted": "{files} images were deleted by the rule {rule}",
    "study:results-deleted": "The {files} files of its results were deleted by the rule {rule}",
    "study:pictures-deleted": "{files} pictures were deleted by the rule {rule}",
    "study:kept": "{actor} keeps the study from every rule",
    "study:let-go": "{actor} let the rules have the study again",
    "study:read": "{actor} read the study",
    "instance:stored": "{count} from {actor}",
    "instance:changed": "An image came again from {actor} with other content",
    "instance:failed": "An image from {actor} could not be put on record and was set aside: {code}",
    "instance:refused": "An image from {actor} was refused: {code}",
    "job:opened": "Job {number} was opened in lane {lane}",
    "job:kept": "The result of job {number} still stands",
    "job:published": "Job {number} was sent to the workers",
    "job:claimed": "{actor} took job {number}, attempt {attempt}",
    "job:succeeded": "{actor} finished job {number}",
    "job:failed": "Job {number} failed: {code}",
    "job:requeued": "Job {number} is to be tried again: {code}",
    "job:postponed": "Job {number} was put off: {code}",
    "job:retried": "{actor} had job {number} tried again",
    "job:superseded": "Job {number} was given up for a newer one",
    "job:lease-expired": "{actor} found job {number} abandoned",
    "job:handed-back": "{actor} handed job {number} back",
    "job:message-lost": "The message of job {number} was lost and is sent again",
    "result:superseded": "The result of job {number} was replaced by that of job {by}",
    "object:written": "A DICOM {kind} was written",
    "object:requested": "{actor} had a DICOM {kind} written",
    "report:postponed": "The report of job {number} could not be written yet: {code}",
    "report:reopened": "The report of job {number} is written anew: {destination} does not take a form of it",
    "forms:chosen": "{destination} gets the result of job {number} as {chosen} in place of {asked}: {reason}",
    "report:failed": "The report of job {number} could not be written: {code}",
    "notice:opened": "Destinations are to be told that the study was not analysed: {code}",
    "notice:written": "A notice was written that the study was not analysed",
    "notice:needless": "No destination wanted to be told any more that the study was not analysed",
    "notice:postponed": "The notice that the study was not analysed could not be written yet: {code}",
    "notice:failed": "The notice that the study was not analysed could not be written: {code}",
    "notice:superseded": "The notice that the study was not analysed was withdrawn",
    "rejection:needless": "Nobody had to be told that the result of job {number} was replaced",
    "rejection:postponed": "The rejection note of job {number} could not be written yet: {code}",
    "rejection:failed": "The rejection note of job {number} could not be written: {code}",
    "delivery:opened": "An object is to be sent to {destination}",
    "delivery:sent": "An object was sent to {destination}, status {status}",
    "delivery:refused": "{destination} refused an object: {code}",
    "delivery:postponed": "{destination} did not take an object yet: {code}",
    "delivery:retried": "{actor} had an object sent to {destination} once more",
    "circuit:opened": "{destination} could not be reached and is left alone for a while: {code}",
    "circuit:closed": "{destination} is sent to again",
    "delivery:superseded": "An object is not sent to {destination} any more: a newer one is",
    "delivery:called-off": "An object is not sent to {destination} any more: {code}",
    "proof:opened": "{destination} is to show that it keeps an object",
    "proof:committed": "{destination} vouches for an object",
    "proof:postponed": "{destination} did not say whether it keeps an object: {code}",
    "proof:missing": "{destination} does not have an object that it took; it is sent once more",
    "proof:failed": "{destination} does not vouch for an object: {code}",
    "fetch:settling": "The study is to come from {source}, once it grows no more there",
    "fetch:due": "The study is to be fetched from {source}: {instances} images",
    "fetch:fetching": "Its images are coming from {source}, attempt {attempt}",
    "fetch:fetched": "The study came from {source}: {instances} images",
    "fetch:failed": "The study did not come from {source}: {code}",
    "fetch:wanted": "{actor} wants the study for itself, and not as an earlier one of its patient",
    "workitem:created": "A workitem of priority {priority} was put on the worklist",
    "workitem:prioritised": "Its workitem got the priority {priority}",
    "workitem:changed": "{actor} changed its workitem",
    "workitem:claimed": "{actor} took its workitem",
    "workitem:completed": "{actor} completed its workitem",
    "workitem:canceled": "{actor} canceled its workitem",
    "announcement:opened": "{channel} is to be told of it: {priority}",
    "announcement:sent": "{channel} was told of it: {priority}",
    "announcement:refused": "{channel} refused to be told of it: {code}",
    "announcement:failed": "{channel} could not be told of it yet: {code}",
    "announcement:retried": "{actor} had {channel} told of it once more",
    "announcement:superseded": "{channel} is not told any more of {priority}: a later result came first",
    "announcement:called-off": "{channel} is not told of it any more: {code}",
    "picture:read": "{actor} looked at a picture of job {number}",
    "headers:read": "{actor} was given headers of the study",
    "images:read": "{actor} was given images of the study",
    "export:made": "{actor} took {what} of job {number} out as files",
    "study:retrieved": "{actor} asked for {objects} objects of the study to be sent to {destination}",
    "audit:read": "{actor} read the history of the study",
    "audit:queried": "{actor} searched the history for the study",
}  # fmt: skip # reads by its lines


def told(event: AuditEvent, *, count: int = 1) -> str:
    """Return an event as a sentence; ``count`` is how many of its kind it stands for.

    A kind that has no sentence is told by its tag, its object and who did it.
    """
    template = _SENTENCES.get(event.tag)
    if template is None:
        kind, _, verb = event.tag.partition(":")
        return f"{kind} {verb.replace('-', ' ')}: {event.subject}, by {event.actor}"
    details = {name: value for name, value in json.loads(event.details).items() if value is not None}
    number = event.subject.rpartition("/")[2]
    images = "One image arrived" if count == 1 else f"{count} images arrived"
    return template.format_map(_Filled({"number": number, **details, "actor": event.actor, "count": images}))


class _Filled(dict[str, object]):
    """What a sentence is filled in with; what an event does not say is left open."""

    def __missing__(self, name: str) -> str:
        return f"({name} not said)"
