"""Everything about the auth service that can be set."""

from __future__ import annotations

from dataclasses import dataclass

from proofload.demo.ordersystem.common.environment import Environment


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """The auth service's settings, read once at the start."""

    database_url: str
    redis_url: str
    key_prefix: str
    store_timeout_s: float
    jwt_secret: str
    gateway_token: str
    token_lifetime_s: float
    kdf_time_cost: int
    kdf_memory_kib: int
    lockout_failures: int
    """Failed logins of one user name after which it is locked for a while; 0 switches the protection off."""
    lockout_s: float


def auth_settings(env: Environment) -> AuthSettings:
    """Return the settings, or raise SettingError for the first that can't be used."""
    return AuthSettings(
        database_url=env.text("DATABASE_URL", "sqlite:///auth.sqlite"),
        redis_url=env.text("REDIS_URL", "redis://127.0.0.1:6379/0"),
        key_prefix=env.text("ORDERSYSTEM_KEY_PREFIX", "ordersystem:"),
        store_timeout_s=env.seconds("REDIS_TIMEOUT", 1.0, 0.01),
        jwt_secret=env.text("JWT_SECRET", ""),
        gateway_token=env.text("GATEWAY_TOKEN", ""),
        token_lifetime_s=env.seconds("AUTH_TOKEN_LIFETIME", 3600.0, 0.1),
        kdf_time_cost=env.whole("AUTH_KDF_TIME_COST", 2, 1, 100),
        kdf_memory_kib=env.whole("AUTH_KDF_MEMORY_KIB", 19_456, 8, 4_194_304),
        lockout_failures=env.whole("AUTH_LOCKOUT_FAILURES", 0, 0, 1000),
        lockout_s=env.seconds("AUTH_LOCKOUT", 60.0, 0.1),
    )
