"""Everything about the order service that can be set."""

from __future__ import annotations

from dataclasses import dataclass

from proofload.demo.ordersystem.common.environment import Environment


@dataclass(frozen=True, slots=True)
class OrderSettings:
    """The order service's settings, read once at the start."""

    database_url: str
    redis_url: str
    key_prefix: str
    store_timeout_s: float
    gateway_token: str
    user_service: str
    user_timeout_s: float
    lock_expires_s: float
    lock_hold_s: float
    lock_when_store_is_down: str
    settle_after_s: float
    settle_every_s: float


def order_settings(env: Environment) -> OrderSettings:
    """Return the settings, or raise SettingError for the first that can't be used."""
    lock_expires_s = env.seconds("LOCK_EXPIRES_ORDER", 5.0, 0.01)
    return OrderSettings(
        database_url=env.text("DATABASE_URL", "sqlite:///order.sqlite"),
        redis_url=env.text("REDIS_URL", "redis://127.0.0.1:6379/0"),
        key_prefix=env.text("ORDERSYSTEM_KEY_PREFIX", "ordersystem:"),
        store_timeout_s=env.seconds("REDIS_TIMEOUT", 1.0, 0.01),
        gateway_token=env.text("GATEWAY_TOKEN", ""),
        user_service=env.text("ORDER_USER_SERVICE", "http://127.0.0.1:1"),
        user_timeout_s=env.seconds("ORDER_USER_TIMEOUT", 2.0, 0.01),
        lock_expires_s=lock_expires_s,
        lock_hold_s=env.seconds("LOCK_HOLD", 0.0),
        lock_when_store_is_down=env.one_of("LOCK_WHEN_STORE_IS_DOWN", ("closed", "open"), "closed"),
        settle_after_s=env.seconds("ORDER_SETTLE_AFTER", lock_expires_s),
        settle_every_s=env.seconds("ORDER_SETTLE_EVERY", 2.0, 0.05),
    )
