"""The system without its processes: real applications, real Redis, real SQLite, in one event loop."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofload.demo.ordersystem.auth.app import build_auth, issue_token
from proofload.demo.ordersystem.auth.settings import auth_settings
from proofload.demo.ordersystem.common.environment import Environment
from proofload.demo.ordersystem.common.store import RedisStore
from proofload.demo.ordersystem.common.upstream import UpstreamAnswer
from proofload.demo.ordersystem.defects.registry import parts_with
from proofload.demo.ordersystem.gateway.parts import build_gateway
from proofload.demo.ordersystem.gateway.settings import gateway_settings
from proofload.demo.ordersystem.orders.app import build_order
from proofload.demo.ordersystem.orders.settings import order_settings
from proofload.demo.ordersystem.users.app import build_user
from proofload.demo.ordersystem.users.settings import user_settings

PROBE = "/api/v1/auth/login"
FAST = {
    "AUTH_KDF_TIME_COST": "1",
    "AUTH_KDF_MEMORY_KIB": "8",
    "GATEWAY_RATE_LIMIT": "10000",
    "JWT_SECRET": "a secret of at least thirty-two bytes",
    "GATEWAY_TOKEN": "token",
    "BREAKER_OPEN": "0.3",
}


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body).get("code", ""))

    def json(self) -> Any:
        return json.loads(self.body)

    def left(self) -> int:
        return int(self.headers["x-ratelimit-remaining"])


async def call_asgi(app, method, path, headers=None, body=b"", peer=("10.0.0.1", 4000)) -> Said:
    path, _, query = path.partition("?")
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": peer,
        "server": ("127.0.0.1", 80),
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    shown = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Said(sent[0]["status"], shown, b"".join(message.get("body", b"") for message in sent[1:]))


class Backend:
    """A service that does as it is told, and counts."""

    def __init__(self) -> None:
        self.status, self.code, self.hits = 200, "", 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.seen: list[dict[bytes, bytes]] = []

    async def send(self, _method, _target, headers, _body) -> UpstreamAnswer:
        self.hits += 1
        self.seen.append(dict(headers))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        code = [(b"x-error-code", self.code.encode())] if self.code else []
        return UpstreamAnswer(self.status, [(b"content-type", b"application/json"), *code], b"{}")

    async def close(self) -> None:
        pass


class AsgiUpstream:
    """Services in turn, as workers of one would be."""

    def __init__(self, apps) -> None:
        self._apps, self._turn = apps, 0

    async def send(self, method, target, headers, body) -> UpstreamAnswer:
        self._turn += 1
        app = self._apps[self._turn % len(self._apps)]
        shown = {name.decode(): value.decode() for name, value in headers}
        said = await call_asgi(app, method, target.decode(), shown, body)
        return UpstreamAnswer(said.status, [(n.encode(), v.encode()) for n, v in said.headers.items()], said.body)

    async def close(self) -> None:
        pass


@dataclass
class World:
    folder: Path
    redis_url: str
    defects: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parts = parts_with(self.defects)
        self.env = {
            **FAST,
            "REDIS_URL": self.redis_url,
            "ORDERSYSTEM_KEY_PREFIX": os.urandom(6).hex() + ":",
            "DATABASE_URL": f"sqlite:///{self.folder}/{os.urandom(4).hex()}.sqlite",
            **self.settings,
            **self.parts.settings,
        }
        self.backends = {name: Backend() for name in ("auth", "user", "order")}
        self.workers: list[Any] = []
        self.stores: list[RedisStore] = []
        self.databases: list[Any] = []
        self._edges = 0

    @property
    def backend(self) -> Backend:
        return self.backends["auth"]

    def store(self) -> RedisStore:
        self.stores.append(RedisStore(self.env["REDIS_URL"], self.env["ORDERSYSTEM_KEY_PREFIX"], 1.0))
        return self.stores[-1]

    def audit(self, service, rotate_bytes=10**9):
        return self.parts.audit(service, self.folder / f"{service}.jsonl", rotate_bytes)

    def lines(self, service) -> list[bytes]:
        found = sorted(self.folder.glob(f"{service}.jsonl*"))
        return [line for file in found for line in file.read_bytes().splitlines()]

    def events(self, service) -> list[str]:
        return [json.loads(line)["event"] for line in self.lines(service)]

    def start_worker(self) -> None:
        settings = gateway_settings(Environment(self.env))
        metrics, audit = self.parts.metrics("gateway"), self.audit("gateway")
        made = build_gateway(settings, self.parts.gateway, self.store(), dict(self.backends), metrics, audit)
        self.workers.append(made)

    def gateway(self) -> World:
        for _ in range(2):
            self.start_worker()
        return self

    async def ask(self, path=PROBE, ip="10.0.0.1", method="GET", headers=None, worker=0, port=4000) -> Said:
        return await call_asgi(self.workers[worker], method, path, headers, peer=(ip, port))

    async def many(self, times, **options) -> list[Said]:
        return [await self.ask(**options) for _ in range(times)]

    async def at_once(self, times, **options) -> list[Said]:
        return list(await asyncio.gather(*(self.ask(worker=i % 2, **options) for i in range(times))))

    def bearer(self, user="load_test_user_1") -> dict[str, str]:
        token = issue_token(auth_settings(Environment(self.env)), user).access_token
        return {"authorization": f"Bearer {token}"}

    async def page(self) -> str:
        return (await self.ask("/metrics")).body.decode()

    def auth(self):
        settings = auth_settings(Environment(self.env))
        made = build_auth(settings, self.parts.auth, self.store(), self.parts.metrics("auth"), self.audit("auth"))
        return self._edge(made, "auth")

    def money(self) -> Money:
        return Money(self)

    def _edge(self, app, service):
        self._edges += 1
        return self.parts.edge(app, self.parts.metrics(service))

    async def close(self) -> None:
        for backend in self.backends.values():
            backend.gate.set()
        for store in self.stores:
            await store.close()


class Money:
    """Two workers of the user service and two of the order service."""

    def __init__(self, world: World) -> None:
        env, parts = Environment(world.env), world.parts
        self.users, self.orders = [], []
        for _ in range(2):
            metrics = parts.metrics("user")
            app = build_user(user_settings(env), parts.user, world.store(), metrics, world.audit("user"))
            self.users.append(parts.edge(app, metrics))
        for _ in range(2):
            metrics, users = parts.metrics("order"), AsgiUpstream(self.users)
            app = build_order(order_settings(env), parts.order, world.store(), users, metrics, world.audit("order"))
            self.orders.append(parts.edge(app, metrics))

    async def _ask(self, app, method, path, user, body=None, **more) -> Said:
        headers = {"x-user": user, "x-gateway-token": "token", "content-type": "application/json", **more}
        return await call_asgi(app, method, path, headers, json.dumps(body).encode() if body else b"")

    async def deposit(self, amount, user="load_test_user_1", worker=0) -> Said:
        return await self._ask(self.users[worker], "POST", "/api/v1/balance/deposit", user, {"amount_cents": amount})

    async def withdraw(self, amount, user="load_test_user_1", worker=0) -> Said:
        return await self._ask(self.users[worker], "POST", "/api/v1/balance/withdraw", user, {"amount_cents": amount})

    async def balance(self, user="load_test_user_1") -> int:
        return int((await self._ask(self.users[0], "GET", "/api/v1/balance", user)).json()["balance_cents"])

    async def order(self, user="load_test_user_1", worker=0, **headers) -> Said:
        return await self._ask(self.orders[worker], "POST", "/api/v1/orders", user, {"item": "widget"}, **headers)

    async def order_ids(self, user="load_test_user_1") -> set[str]:
        said = await self._ask(self.orders[0], "GET", "/api/v1/orders?limit=1000", user)
        return {order["order_id"] for order in said.json()["orders"]}

    async def debit_references(self, user="load_test_user_1") -> set[str]:
        said = await self._ask(self.users[0], "GET", "/api/v1/balance/transactions?limit=1000", user)
        return {entry["reference"] for entry in said.json()["transactions"] if entry["kind"] == "debit"}
