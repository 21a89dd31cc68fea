"""What the simulated API does, and how badly. Durations are seconds; rates are shares of the requests, 0 to 1."""

from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Rate = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]
Pattern = Annotated[str, Field(max_length=200)]


class Settings(BaseModel):
    """Each may be changed while the simulator runs. Patterns are shell patterns of terminal ids; "" fits none."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    latency: Seconds = 0.0
    """Time before each answer."""
    jitter: Seconds = 0.0
    """At most so much more, at random."""
    completion_min: Seconds = 1.0
    """Time an operation stays PENDING, at least."""
    completion_max: Seconds = 3.0
    """The same, at most."""

    error_before_rate: Rate = 0.0
    """503 and nothing executed."""
    error_after_rate: Rate = 0.0
    """502, and executed all the same."""
    cut_rate: Rate = 0.0
    """Executed, and the connection cut instead of an answer."""
    garbage_rate: Rate = 0.0
    """Executed, and 200 with a page that is no JSON."""
    hang_rate: Rate = 0.0
    """Executed, and never answered."""
    throttle_rate: Rate = 0.0
    """429 with Retry-After, and nothing executed."""
    retry_after: int = Field(default=1, ge=0, le=3600)
    """The Retry-After of a 429, in seconds."""
    down: bool = False
    """Every connection is cut and nothing executed."""

    fail_rate: Rate = 0.0
    """Operations that end FAILED."""
    timeout_rate: Rate = 0.0
    """Operations that end TIMEOUT."""
    fail: Pattern = ""
    """Terminals whose operations end FAILED."""
    timeout: Pattern = ""
    """Terminals whose operations end TIMEOUT."""
    reject: Pattern = "*-T9999"
    """Terminals that do not exist: 404."""
    busy: bool = True
    """409 while the terminal is at another operation. Without it, operations overlap and are counted."""

    token_lifetime: int = Field(default=14400, ge=1, le=604800)
    scopes: frozenset[str] = frozenset(
        {"write:checkout:/admin/terminals", "read:checkout:/admin/terminals"},
    )
    """What tokens given out from now on allow."""
    idempotency_window: Seconds = 86400.0
    """Time for which a key is remembered; after it, the key executes again."""

    @model_validator(mode="after")
    def _rates_are_shares(self) -> "Settings":
        before = self.throttle_rate + self.error_before_rate
        after = self.error_after_rate + self.cut_rate + self.garbage_rate + self.hang_rate
        if before + after > 1 or self.fail_rate + self.timeout_rate > 1:
            raise ValueError("rates of faults, and those of ends, must not add up to more than 1")
        return self

    @model_validator(mode="after")
    def _completion_is_a_range(self) -> "Settings":
        if self.completion_min > self.completion_max:
            raise ValueError("completion_min must not be over completion_max")
        return self


class AccountCredentials(Protocol):
    """The only client an account accepts."""

    @property
    def client_id(self) -> str: ...

    @property
    def client_secret(self) -> SecretStr: ...
