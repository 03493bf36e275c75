"""Everything about the user service that can be set."""

from __future__ import annotations

from dataclasses import dataclass

from proofload.demo.ordersystem.common.environment import Environment


@dataclass(frozen=True, slots=True)
class UserSettings:
    """The user service's settings, read once at the start."""

    database_url: str
    redis_url: str
    key_prefix: str
    store_timeout_s: float
    gateway_token: str
    lock_expires_s: float
    lock_hold_s: float
    lock_when_store_is_down: str


def user_settings(env: Environment) -> UserSettings:
    """Return the settings, or raise SettingError for the first that can't be used."""
    return UserSettings(
        database_url=env.text("DATABASE_URL", "sqlite:///user.sqlite"),
        redis_url=env.text("REDIS_URL", "redis://127.0.0.1:6379/0"),
        key_prefix=env.text("ORDERSYSTEM_KEY_PREFIX", "ordersystem:"),
        store_timeout_s=env.seconds("REDIS_TIMEOUT", 1.0, 0.01),
        gateway_token=env.text("GATEWAY_TOKEN", ""),
        lock_expires_s=env.seconds("LOCK_EXPIRES_BALANCE", 2.0, 0.01),
        lock_hold_s=env.seconds("LOCK_HOLD", 0.0),
        lock_when_store_is_down=env.one_of("LOCK_WHEN_STORE_IS_DOWN", ("closed", "open"), "closed"),
    )
