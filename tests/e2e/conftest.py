"""A reference system for the tests that bring their own target file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proofload.demo.reference_system import ReferenceSystem

TARGET = """\
version: 1
name: shop
address: {gateway}
users: {{register: register, login: login}}
operations:
  register:
    method: POST
    path: /api/v1/auth/register
    json: &who {{username: "${{user.name}}", password: "${{user.password}}"}}
  login: {{method: POST, path: /api/v1/auth/login, json: *who}}
  profile: {{path: /api/v1/auth/profile, auth: bearer}}
policies:
  rate_limit:
    - {{limit: {limit}, window: 3s, probe: profile, exempt: [/health]}}
{more}
"""

Declare = Callable[..., Path]


@pytest.fixture
def system(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ReferenceSystem]:
    settings = {"GATEWAY_RATE_WINDOW": "3", **getattr(request, "param", {})}
    with ReferenceSystem.start(tmp_path / "system", settings=settings) as running:
        yield running


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    def write(gateway: str, limit: int = 100, more: str = "") -> Path:
        place = tmp_path / "proofload.yaml"
        place.write_text(TARGET.format(gateway=gateway, limit=limit, more=more))
        return place

    return write
