from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from dicom_gateway.config import GatewaySettings
from dicom_gateway.receiving.admission import Caller, Refused
from dicom_gateway.receiving.peer_matching import MatchingRules, PeerList
from storage.peers import PeerEntry

RULES = MatchingRules.of(GatewaySettings())
CT = PeerEntry("ct", "CT", network="10.20.0.0/16")
SECURE = PeerEntry("secure", "MR", certificate_name="mr.example.org")
OTHER_TITLE = PeerEntry("other-title", "US", called_aet="TRIAGE")
ENTRIES = (CT, SECURE, OTHER_TITLE)


def _match(caller: Caller, *entries: PeerEntry, rules: MatchingRules = RULES) -> str:
    found = PeerList(entries, rules).match(caller)
    return found.code if isinstance(found, Refused) else found.name


@pytest.mark.parametrize(
    ("caller", "found"),
    [
        (Caller("CT", "ONCUE", "10.20.3.4"), "ct"),
        (Caller("CT", "ONCUE", "::ffff:10.20.3.4"), "ct"),
        (Caller("CT", "ONCUE", "10.21.3.4"), "network_not_allowed"),
        (Caller("CT", "ONCUE", "fd00::1"), "network_not_allowed"),
        (Caller("CT", "TRIAGE", "10.20.3.4"), "called_aet_unknown"),
        (Caller("ct", "ONCUE", "10.20.3.4"), "calling_aet_unknown"),
        (Caller("EVIL", "ONCUE", "10.20.3.4"), "calling_aet_unknown"),
        (Caller("EVIL", "ELSE", "10.20.3.4"), "called_aet_unknown"),
        (Caller("", "", "10.20.3.4"), "called_aet_unknown"),
        (Caller("MR", "ONCUE", "10.1.1.1", ("MR.example.org", "other")), "secure"),
        (Caller("MR", "ONCUE", "10.1.1.1", ("evil.example.org",)), "certificate_not_allowed"),
        (Caller("MR", "ONCUE", "10.1.1.1"), "certificate_not_allowed"),
        (Caller("US", "TRIAGE", "10.1.1.1"), "other-title"),
        (Caller("US", "ONCUE", "10.1.1.1"), "called_aet_unknown"),
    ],
)
def test_a_caller_is_let_in_by_its_entry_or_kept_out_with_a_code(caller: Caller, found: str) -> None:
    assert _match(caller, *ENTRIES) == found


def test_without_entries_nobody_beyond_this_machine_is_let_in() -> None:
    assert _match(Caller("CT", "ONCUE", "10.20.3.4")) == "calling_aet_unknown"
    for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert _match(Caller("ANY", "ONCUE", address)) == "loopback"
    assert _match(Caller("ANY", "ELSE", "127.0.0.1")) == "called_aet_unknown"


def test_where_loopback_needs_an_entry_it_is_an_address_like_any_other() -> None:
    rules = replace(RULES, admit_loopback=False)
    assert _match(Caller("ANY", "ONCUE", "127.0.0.1"), rules=rules) == "calling_aet_unknown"
    assert _match(Caller("CT", "ONCUE", "127.0.0.1"), replace(CT, network="127.0.0.0/8"), rules=rules) == "ct"


def test_a_sender_of_this_machine_comes_from_the_address_that_the_listener_is_bound_to() -> None:
    rules = replace(RULES, own_host="10.9.9.9")
    assert _match(Caller("ANY", "ONCUE", "10.9.9.9"), rules=rules) == "loopback"
    assert _match(Caller("ANY", "ONCUE", "10.9.9.8"), rules=rules) == "calling_aet_unknown"


def test_the_entry_that_says_most_counts_and_a_narrow_one_may_keep_out() -> None:
    wide = PeerEntry("wide", "CT")
    narrow = replace(CT, name="narrow", network="10.20.0.7/32", allowed=False)
    certified = replace(CT, name="certified", certificate_name="ct.example.org")
    entries = (wide, CT, narrow, certified)
    assert _match(Caller("CT", "ONCUE", "10.99.0.1"), *entries) == "wide"
    assert _match(Caller("CT", "ONCUE", "10.20.0.1"), *entries) == "ct"
    assert _match(Caller("CT", "ONCUE", "10.20.0.7"), *entries) == "peer_blocked"
    assert _match(Caller("CT", "ONCUE", "10.20.0.7", ("ct.example.org",)), *entries) == "certified"
    assert _match(Caller("CT", "ONCUE", "127.0.0.1"), replace(wide, allowed=False)) == "peer_blocked"


def test_the_fence_of_the_settings_holds_whatever_the_entries_say() -> None:
    rules = replace(RULES, networks=(ip_network("10.20.0.0/16"),))
    anywhere = replace(CT, network=None)
    assert _match(Caller("CT", "ONCUE", "10.20.0.1"), anywhere, rules=rules) == "ct"
    assert _match(Caller("CT", "ONCUE", "10.21.0.1"), anywhere, rules=rules) == "network_not_allowed"
    assert _match(Caller("CT", "ONCUE", "127.0.0.1"), anywhere, rules=rules) == "ct"
    assert not PeerList((anywhere,), rules).knows_address("10.21.0.1")


@pytest.mark.parametrize(
    ("entries", "address", "known"),
    [
        ((), "10.20.0.1", False),
        ((), "127.0.0.1", True),
        ((CT,), "10.20.0.1", True),
        ((CT,), "10.21.0.1", False),
        ((CT, SECURE), "10.21.0.1", True),
        ((replace(CT, allowed=False),), "10.20.0.1", False),
    ],
)
def test_an_address_is_known_where_a_caller_of_some_entry_may_have_it(
    entries: tuple[PeerEntry, ...], address: str, known: bool
) -> None:
    assert PeerList(entries, RULES).knows_address(address) is known
