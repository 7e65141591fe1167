"""A FHIR R4 server for tests: it keeps resources by type and id, with versions, and fails when it is told to.

It knows what senders use: read, search by identifier, update and conditional update, transactions, If-Match.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fhir.resources.R4B import get_fhir_model_class

Json = dict[str, Any]
Fault = Callable[[BaseHTTPRequestHandler], bool]
"""Answers a request in the server's place; False where it lets it pass."""

BASE = "/fhir"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FhirServer:
    """A running server, its resources by ``Type/id``, and what it was asked."""

    port: int = 0
    scheme: str = "http"
    version: str = "4.0.1"
    interactions: tuple[str, ...] = ("transaction",)
    resources: dict[str, Json] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{BASE}"

    def of_type(self, kind: str) -> list[Json]:
        return [one for one in self.resources.values() if one["resourceType"] == kind]

    def answer(self, method: str, path: str, body: Any, match: str | None = None) -> tuple[int, Json | None]:
        parts = urlsplit(path)
        target = parts.path.strip("/")
        if target == "metadata":
            return 200, self._statement()
        if method == "POST" and not target:
            return self._transaction(body)
        found = self._found(target, parse_qs(parts.query).get("identifier"))
        if method == "GET":
            if "/" in target:
                return (200, found) if found else (404, outcome("not-found"))
            entries = [{"resource": found}] if found else []
            return 200, {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
        return self._put(target, body, found, match)

    def _found(self, target: str, identifiers: list[str] | None) -> Json | None:
        if identifiers is None:
            return self.resources.get(target)
        system, _, value = identifiers[0].partition("|")
        wanted = (system, value)
        return next((one for one in self.of_type(target) if wanted in _identifiers(one)), None)

    def _put(self, target: str, body: Json, found: Json | None, match: str | None) -> tuple[int, Json]:
        get_fhir_model_class(body["resourceType"]).model_validate(body)
        version = int(found["meta"]["versionId"]) if found else 0
        if match is not None and match != f'W/"{version}"':
            return 412, outcome("conflict")
        name = found["id"] if found else target.partition("/")[2] or uuid.uuid4().hex
        if "/" in target:
            assert body["id"] == target.partition("/")[2], "the id of the body is that of the address"
        kind = target.partition("/")[0]
        self.resources[f"{kind}/{name}"] = {**body, "id": name, "meta": {"versionId": str(version + 1)}}
        return (200 if found else 201), self.resources[f"{kind}/{name}"]

    def _transaction(self, bundle: Json) -> tuple[int, Json]:
        get_fhir_model_class("Bundle").model_validate(bundle)
        names = {entry["fullUrl"]: f"{entry['resource']['resourceType']}/?" for entry in bundle["entry"]}
        before, answers = dict(self.resources), []
        for entry in bundle["entry"]:
            request = entry["request"]
            status, made = self.answer(request["method"], request["url"], entry["resource"], request.get("ifMatch"))
            if status >= 400:
                self.resources = before
                return status, made or outcome("processing")
            assert made is not None
            names[entry["fullUrl"]] = f"{made['resourceType']}/{made['id']}"
            answers.append({"response": {"status": f"{status} {'OK' if status == 200 else 'Created'}"}})
        for key, resource in self.resources.items():
            self.resources[key] = json.loads(_resolved(json.dumps(resource), names))
        return 200, {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _statement(self) -> Json:
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-01-01",
            "kind": "instance",
            "fhirVersion": self.version,
            "format": ["json"],
            "rest": [{"mode": "server", "interaction": [{"code": one} for one in self.interactions]}],
        }


@contextlib.contextmanager
def fhir_server(*, tls: ssl.SSLContext | None = None, **facts: Any) -> Iterator[FhirServer]:
    """Run a server on loopback until the block ends."""
    service = FhirServer(**facts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answered(self) -> None:
            with contextlib.suppress(OSError):
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(content) if content else None
                service.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                self.close_connection = True
                if service.faults and service.faults.pop(0)(self):
                    return
                assert self.path.startswith(BASE)
                path = self.path.removeprefix(BASE)
                status, answer = service.answer(self.command, path, body, self.headers.get("If-Match"))
                write(self, status, json.dumps(answer).encode())

        do_GET = do_PUT = do_POST = _answered  # noqa: N815 - names of the library

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.port = server.server_port
    if tls is not None:
        service.scheme = "https"
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


def write(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """Answer with a status and a body."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def passing(_: BaseHTTPRequestHandler) -> bool:
    """Let a request pass."""
    return False


def failing(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Return what answers with a status."""

    def fault(handler: BaseHTTPRequestHandler) -> bool:
        write(handler, status, body, **headers)
        return True

    return fault


def issue(status: int, code: str) -> Fault:
    """Return what answers with an OperationOutcome of one issue, whose words name a patient."""
    return failing(status, json.dumps(outcome(code)).encode())


def outcome(code: str) -> Json:
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "diagnostics": "Mueller, Anna 4711"}],
    }


def losing_the_answer(server: FhirServer) -> Fault:
    """Return what does as it is asked, and breaks the connection off instead of saying so."""

    def fault(_: BaseHTTPRequestHandler) -> bool:
        asked = server.asked[-1]
        server.answer(asked.method, asked.path.removeprefix(BASE), asked.body, asked.headers.get("If-Match"))
        return True

    return fault


def dripping(handler: BaseHTTPRequestHandler) -> bool:
    """Answer a byte at a time, without an end."""
    handler.send_response(200)
    handler.end_headers()
    pause = threading.Event()
    while not pause.wait(0.05):
        handler.wfile.write(b" ")
    return True


def _identifiers(resource: Json) -> list[tuple[str, str]]:
    return [(one.get("system", ""), one.get("value", "")) for one in resource.get("identifier", [])]


def _resolved(text: str, names: dict[str, str]) -> str:
    return re.sub(r"urn:uuid:[0-9a-f-]{36}", lambda found: names.get(found[0], found[0]), text)
