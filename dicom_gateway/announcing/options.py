"""What a channel of each kind may be told besides its address, read from ``name=value`` words and kept as JSON.

Addresses are ``mllp://HOST:PORT`` or ``mllps://HOST:PORT`` (TLS) for HL7, ``https://HOST/BASE`` for FHIR, a URL for a
webhook, and ``smtp://HOST:PORT`` for e-mail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from dicom_gateway.announcing.announcement import ChannelOptions
from storage.announcing.tables import ChannelKind
from storage.errors import ChannelInvalid

_HL7_VERSIONS = ("2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8")
_HL7_CHARACTER_SETS = ("ASCII", "8859/1", "8859/2", "8859/5", "8859/7", "8859/9", "8859/15", "UNICODE UTF-8")
_LONGEST_NAME = 180
_LONGEST_PREFIX = 60
_MOST_RECIPIENTS = 50
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_MAIL_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:\S{1,250}")
_PATH = re.compile(r"[A-Za-z0-9._~/-]{0,100}")
_RESERVED_HEADERS = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding"})
_TRUTH: Mapping[str, bool] = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class MailSecurity(StrEnum):
    """How the connection to a mail server is secured: by STARTTLS (RFC 3207), by TLS from its first byte, or not."""

    STARTTLS = "starttls"
    TLS = "tls"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Hl7Options(ChannelOptions):
    """Who talks to whom in MSH-3 to MSH-6, and in which HL7 version (MSH-12) and character set (MSH-18).

    With ``order_updates`` the order's priority is sent too, by ORM^O01. ``assigning_authority`` is that of PID-3 where
    the images name no issuer.
    """

    sending_application: str = "ONCUE"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    version: str = "2.5.1"
    order_updates: bool = False
    character_set: str = "UNICODE UTF-8"
    assigning_authority: str = ""


@dataclass(frozen=True, slots=True)
class FhirOptions(ChannelOptions):
    """The system URIs of identifiers, and how resources are written.

    With ``create_task`` a Task holds the reading priority. With ``use_put`` each resource is put under an id of ours,
    otherwise all come in one transaction with conditional creates. Paths stand behind the base of the address.
    """

    patient_system: str = ""
    accession_system: str = ""
    identifier_system: str = "urn:oncue:announcement"
    create_task: bool = True
    use_put: bool = False
    transaction_path: str = ""
    metadata_path: str = "metadata"


@dataclass(frozen=True, slots=True)
class WebhookOptions(ChannelOptions):
    """The name of the header that holds the signature."""

    header_name: str = "Oncue-Signature"


@dataclass(frozen=True, slots=True)
class MailOptions(ChannelOptions):
    """Who writes to whom, what subjects begin with, and how the server is spoken to.

    With ``null_return_path`` bounces go nowhere: the envelope has no sender (RFC 3834 4).
    """

    sender: str = ""
    recipients: tuple[str, ...] = ()
    subject_prefix: str = "[oncue]"
    security: MailSecurity = MailSecurity.STARTTLS
    null_return_path: bool = False


OPTIONS: Mapping[ChannelKind, type[ChannelOptions]] = MappingProxyType(
    {
        ChannelKind.HL7: Hl7Options,
        ChannelKind.FHIR: FhirOptions,
        ChannelKind.WEBHOOK: WebhookOptions,
        ChannelKind.MAIL: MailOptions,
    }
)
"""The options that each kind has."""


def read_options(kind: ChannelKind, words: Mapping[str, str]) -> ChannelOptions:
    """Return the options that words name, all others as they are by default; ChannelInvalid says which is wrong."""
    known = {field.name: field for field in fields(_dataclass(kind))}
    unknown = sorted(set(words) - set(known))
    if unknown:
        raise ChannelInvalid(f"{unknown[0]!r} is no option of {kind} channels; these are: {', '.join(known)}")
    options = OPTIONS[kind](**{name: _value(name, text, known[name].default) for name, text in words.items()})
    _CHECKS[kind](options)
    return options


def written_options(options: ChannelOptions) -> str:
    """Return options as canonical JSON."""
    return json.dumps(asdict(options), sort_keys=True, separators=(",", ":"))  # type: ignore[call-overload]  # the kinds are dataclasses, their root is none


def kept_options(kind: ChannelKind, text: str) -> ChannelOptions:
    """Return the options that ``written_options`` wrote; what an earlier version did not know is as by default."""
    kept = json.loads(text)
    defaults = {field.name: field.default for field in fields(_dataclass(kind))}
    return OPTIONS[kind](**{name: _restored(kept[name], default) for name, default in defaults.items() if name in kept})


def option_words(options: ChannelOptions) -> Mapping[str, str]:
    """Return options as the words that ``read_options`` takes."""
    return {name: _word(value) for name, value in asdict(options).items()}  # type: ignore[call-overload]  # the kinds are dataclasses, their root is none


def _dataclass(kind: ChannelKind) -> Any:
    return OPTIONS[kind]


def _word(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _restored(value: Any, default: object) -> object:
    if isinstance(default, MailSecurity):
        return MailSecurity(value)
    return tuple(value) if isinstance(default, tuple) else value


def _value(name: str, text: str, default: object) -> object:
    """Return the value of one word in the type of its default."""
    bare = text.strip()
    if isinstance(default, bool):
        if bare.casefold() not in _TRUTH:
            raise ChannelInvalid(f"{name} is true or false, not {text!r}")
        return _TRUTH[bare.casefold()]
    if isinstance(default, MailSecurity):
        return _security(name, bare)
    if isinstance(default, tuple):
        return tuple(dict.fromkeys(word.strip() for word in bare.split(",") if word.strip()))
    if not bare.isprintable() or len(bare) > _LONGEST_NAME:
        raise ChannelInvalid(f"{name} has at most {_LONGEST_NAME} characters, and none that cannot be printed")
    return bare


def _security(name: str, text: str) -> MailSecurity:
    try:
        return MailSecurity(text.casefold())
    except ValueError:
        known = ", ".join(member.value for member in MailSecurity)
        raise ChannelInvalid(f"{name} is one of {known}, not {text!r}") from None


def _check_hl7(options: Any) -> None:
    if options.version not in _HL7_VERSIONS:
        raise ChannelInvalid(f"version is one of {', '.join(_HL7_VERSIONS)}, not {options.version!r}")
    if options.character_set not in _HL7_CHARACTER_SETS:
        known = ", ".join(_HL7_CHARACTER_SETS)
        raise ChannelInvalid(f"character_set is one of {known} (HL7 table 0211), not {options.character_set!r}")
    if not options.sending_application:
        raise ChannelInvalid("sending_application is what oncue calls itself in MSH-3; it is not empty")


def _check_fhir(options: Any) -> None:
    for name in ("patient_system", "accession_system", "identifier_system"):
        system = getattr(options, name)
        if system and _URI.fullmatch(system) is None:
            raise ChannelInvalid(f"{name} is a URI, as in urn:oid:1.2.3 or https://hospital.example/mrn: {system!r}")
    if not options.identifier_system:
        raise ChannelInvalid("identifier_system is what makes a repeat the same resource; it is not empty")
    for name in ("transaction_path", "metadata_path"):
        path = getattr(options, name)
        if _PATH.fullmatch(path) is None or ".." in path:
            raise ChannelInvalid(f"{name} is a path behind the base of the address, as in metadata: {path!r}")


def _check_webhook(options: Any) -> None:
    if _HEADER_NAME.fullmatch(options.header_name) is None or options.header_name.casefold() in _RESERVED_HEADERS:
        raise ChannelInvalid(f"header_name is the name of a header of its own, not {options.header_name!r}")


def _check_mail(options: Any) -> None:
    for name, addresses in (("sender", (options.sender,)), ("recipients", options.recipients)):
        wrong = next((one for one in addresses if _MAIL_ADDRESS.fullmatch(one) is None), None)
        if wrong is not None or not addresses:
            example = "--option sender=oncue@hospital.example --option recipients=reading-room@hospital.example"
            raise ChannelInvalid(f"{name} {wrong or ''!r} is no mail address; write {example}")
    if len(options.recipients) > _MOST_RECIPIENTS:
        raise ChannelInvalid(f"a channel has at most {_MOST_RECIPIENTS} recipients: make a list at the mail server")
    if options.sender.casefold() in map(str.casefold, options.recipients):
        raise ChannelInvalid(f"{options.sender} would write to itself: the sender is no recipient, or mails go round")
    if len(options.subject_prefix) > _LONGEST_PREFIX:
        raise ChannelInvalid(f"subject_prefix has at most {_LONGEST_PREFIX} characters")


_CHECKS: Mapping[ChannelKind, Any] = MappingProxyType(
    {
        ChannelKind.HL7: _check_hl7,
        ChannelKind.FHIR: _check_fhir,
        ChannelKind.WEBHOOK: _check_webhook,
        ChannelKind.MAIL: _check_mail,
    }
)
