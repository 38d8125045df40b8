"""The settings: their types, defaults and descriptions. `config_loading` reads them.  [S]

Secrets are `SecretStr` and never appear in a log or a traceback.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.auth.jwt_settings import JwtSettings
from gateway.auth.tokens import ScopedToken
from gateway.call.expected import ExpectedMachine
from gateway.call.shadow_settings import ShadowSettings
from gateway.evidence.settings import EXAMPLE_KEY, EvidenceSettings
from gateway.ingest.audiosocket.door import AudioSocketDoor
from gateway.ingest.doors import Door, DoorName, PositiveSeconds
from gateway.ingest.rtp.settings import RtpPort
from gateway.ingest.sip.settings import SipSettings
from gateway.shared.settings import NatsSettings
from gateway.sources import RateLimits
from gateway.webhooks.settings import Webhook

ENV_PREFIX = "CALLSCREEN_"
DEFAULT_DOORS = {name: Door.model_validate({}) for name in ("twilio", "plain")}
LIMITS = ("start_deadline_s", "idle_deadline_s", "max_message_bytes", "max_call_s")
"""Settings that `doors.NAME` may override."""

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
PositiveRate = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
HttpUrlText = Annotated[str, Field(pattern=r"^https?://[^\s/?#]+[^\s?#]*$")]
PositiveDays = Annotated[float, Field(gt=0.0, le=36_500.0)]
CpuSeconds = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""CPU seconds per second of the verifier's only thread, so at most one core."""


class Settings(BaseSettings):
    """All settings. Every field can also be set in the environment as ``CALLSCREEN_<FIELD IN CAPITALS>``."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    # Where it listens
    host: str = Field(
        "127.0.0.1", description="address to listen on; beyond loopback a token is required", examples=["10.0.0.5"]
    )
    port: int = Field(8080, ge=0, le=65535, description="port for HTTP and websockets; 0 takes a free one")
    public_url: str | None = Field(
        None,
        description="how peers reach this gateway from outside; Twilio, Plivo and Genesys sign this URL",
        examples=["https://gw.example.com"],
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="processes that take calls, best one for each core; each holds the models, some 170 MB"
    )

    tls_cert: Path | None = Field(
        None,
        description="certificate and its chain (PEM); then the port speaks TLS only: https and wss",
        examples=["fullchain.pem"],
    )
    tls_key: Path | None = Field(None, description="its private key (PEM, unencrypted)", examples=["privkey.pem"])

    # Who may connect
    token: SecretStr | None = Field(
        None,
        min_length=1,
        description="bearer token for media, events and calls; without it only loopback is served",
        examples=["a long random string"],
    )
    allow_anonymous: bool = Field(
        False, description="serve beyond loopback without a token; for closed networks only", examples=[True]
    )
    tokens: tuple[ScopedToken, ...] = Field(
        (),
        description="bearer tokens with scopes, stored as hashes",
        examples=[[{"name": "fraud desk", "sha256": "0" * 64, "scopes": ["subscribe"]}]],
    )
    jwt: JwtSettings | None = Field(
        None,
        description="JSON Web Tokens of this issuer are taken as bearer tokens, too",
        examples=[{"jwks_file": "jwks.json", "issuer": "https://id.example.com", "audience": "callscreen"}],
    )
    twilio_auth_token: SecretStr | None = Field(
        None,
        min_length=1,
        description="Twilio's auth token: signing key of Twilio endpoints that have none of their own",
        examples=["auth token of the account"],
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="web origins whose pages may call the gateway", examples=[["https://desk.example.com"]]
    )

    rate_limits: RateLimits = Field(
        RateLimits.model_validate({}),
        description="how often one source address may ask for something; 10 s worth of it may come at once",
        examples=[{"requests_per_s": 20.0}],
    )

    # Calls and their limits
    max_calls: Count = Field(200, description="calls at the same time; one more is refused with 503 or 1013")
    max_calls_per_tenant: Count | None = Field(
        None, description="calls of one tenant at the same time; not set: no such limit", examples=[50]
    )
    max_call_s: PositiveSeconds = Field(4 * 3600.0, description="longest call, in seconds")
    start_deadline_s: PositiveSeconds = Field(5.0, description="a stream that has not started after this is closed")
    idle_deadline_s: PositiveSeconds = Field(30.0, description="a stream without media for this long is closed")
    max_message_bytes: Count = Field(64 * 1024, description="largest message that a media stream may send")
    max_speed: Annotated[float, Field(ge=1.0, allow_inf_nan=False)] = Field(
        2.0, description="how many times faster than real time a leg's audio may arrive in the long run"
    )
    max_messages_per_s: Count = Field(400, description="messages a second that one connection may send in the long run")
    max_burst_s: PositiveSeconds = Field(
        30.0,
        description="seconds of audio, and of messages at the rate above, that may arrive at once, as after a stall",
    )
    roles: dict[str, Literal["caller", "callee", "agent", "customer"]] = Field(
        default_factory=dict, description="role of a leg, by the leg's name", examples=[{"inbound": "caller"}]
    )

    # Sources of calls
    doors: dict[DoorName, Door] = Field(
        default_factory=dict,
        description="websocket media endpoints, by the last part of their path; `twilio` and `plain` always exist",
        examples=[{"telnyx": {"token": "a long random string"}}],
    )
    whip: Door = Field(
        Door.model_validate({}),
        description="the WHIP endpoint; takes the keys of doors.NAME, except dialect, signing_key, allow_mixed and "
        "swap_channels",
        examples=[{"token": "a long random string"}],
    )
    rtp: dict[str, RtpPort] = Field(
        default_factory=dict,
        description="UDP ports that take RTP without signalling",
        examples=[{"room": {"listen": "127.0.0.1:5004", "legs": {"alice": {}}}}],
    )
    audiosocket: AudioSocketDoor | None = Field(
        None, description="TCP port that takes Asterisk's AudioSocket", examples=[{"listen": "127.0.0.1:9092"}]
    )
    sip: SipSettings | None = Field(
        None,
        description="SIP: softphones and PBXs that call the gateway, SIPREC recording clients",
        examples=[{"udp": "127.0.0.1:5060"}],
    )

    # Models and decision
    model: str | None = Field(
        None, description="a shipped model's name or the path of an .onnx file", examples=["tinystatnet"]
    )
    verify_key: Path | None = Field(
        None,
        description="public Ed25519 key (PEM); then only models that were signed with its private key are opened",
        examples=["verify.pem"],
    )
    alert_p: Fraction | None = Field(
        None,
        description="threshold: an alert is raised above this rolling probability; not set: the one that the fusion of "
        "both models, or without a verifier the model's card, comes with",
        examples=[0.95],
    )
    alerts_per_hour: PositiveRate | None = Field(
        None,
        description="threshold by its cost: at most this many false alarms expected in an hour of genuine speech; "
        "instead of alert_p",
        examples=[5.0],
    )
    clear_p: Fraction | None = Field(
        None, description="an alert is cleared below this rolling probability; not set: 0.5", examples=[0.4]
    )
    expected_machine: tuple[ExpectedMachine, ...] = Field(
        (),
        description="where a synthetic voice is no cause for alarm: prompts, greetings",
        examples=[[{"role": "callee", "to_s": 12.0}]],
    )
    policy: Path | None = Field(
        None, description="TOML file: which legs are screened, and from which thresholds", examples=["policy.toml"]
    )
    shadow: ShadowSettings | None = Field(
        None, description="a candidate beside what is live; it raises no alert", examples=[{"model": "tinystatnet"}]
    )
    verifier: str = Field(
        "auto", description="the larger model that scores again: a name or path; auto: the one that ships, if any; off"
    )
    verifier_cpu_share: CpuSeconds = Field(
        0.5,
        description="CPU time for the verifier, as a share of one core; legs in doubt come first; 0: off. A pool "
        "(`nats.verifier_pool`) takes what it has",
    )
    scorer_queue_windows: Count = Field(
        512, description="windows that may wait for the model; more are skipped and counted"
    )
    scorer_batch_windows: Count = Field(32, description="most windows scored in one batch")

    # Events
    journal: Path = Field(Path("callscreen.sqlite3"), description="SQLite file that holds every event")
    journal_max_events: Count = Field(1_000_000, description="events kept in the journal; older ones are deleted")
    journal_max_days: PositiveDays | None = Field(
        None, description="days that an event is kept in the journal; not set: by number alone", examples=[30]
    )
    subscriber_queue_events: Count = Field(
        1000, description="events that may wait for one subscriber before it is closed"
    )
    webhooks: tuple[Webhook, ...] = Field(
        (),
        description="HTTP endpoints that events are delivered to, signed as of Standard Webhooks",
        examples=[
            [{"name": "fraud-desk", "url": "https://hooks.example.com/callscreen", "secret_env": "FRAUD_DESK_SECRET"}]
        ],
    )
    nats: NatsSettings | None = Field(
        None,
        description="NATS JetStream, where several gateways share one stream of events",
        examples=[{"url": "nats://127.0.0.1:4222"}],
    )
    heartbeat_s: PositiveSeconds = Field(15.0, description="a heartbeat is sent on the event socket after this silence")

    evidence: EvidenceSettings | None = Field(
        None,
        description="the audio around alerts is stored, encrypted; needs the extra `evidence`; not set: no audio is",
        examples=[{"folder": "/var/lib/callscreen/evidence", "public_keys": [EXAMPLE_KEY]}],
    )

    # WebRTC
    ice_servers: tuple[str, ...] = Field(
        (),
        description="STUN or TURN servers; without any, none is contacted",
        examples=[["stun:stun.example.com:3478"]],
    )

    # Telemetry
    otlp_endpoint: HttpUrlText | None = Field(
        None,
        description="OTLP/HTTP receiver of traces and metrics; needs the extra `otel`",
        examples=["http://127.0.0.1:4318"],
    )
    otlp_interval_s: PositiveSeconds = Field(15.0, description="seconds between two exports of traces and metrics")

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe lines logged")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, JSON elsewhere"
    )

    @property
    def has_token(self) -> bool:
        """Whether clients must present a token."""
        return bool(self.token or self.tokens or self.jwt)

    def media_doors(self) -> dict[str, Door]:
        """Return the websocket endpoints, with the gateway-wide settings as their defaults."""
        return {name: self._with_defaults(name, door) for name, door in (DEFAULT_DOORS | self.doors).items()}

    def whip_door(self) -> Door:
        """Return the WHIP endpoint, with the gateway-wide settings as its defaults."""
        return self._with_defaults("whip", self.whip)

    def _with_defaults(self, name: str, door: Door) -> Door:
        signing_key = door.signing_key
        if signing_key is None and (door.dialect or name) == "twilio":
            signing_key = self.twilio_auth_token
        general = {field: getattr(self, field) for field in LIMITS if getattr(door, field) is None}
        return door.model_copy(update={"signing_key": signing_key, "roles": self.roles | door.roles} | general)

    @model_validator(mode="after")
    def _is_consistent(self) -> Settings:
        for check in _CHECKS:
            check(self)
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_webhooks(settings: Settings) -> None:
    names = [webhook.name for webhook in settings.webhooks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"webhooks.name: expected a unique name for each, got {twice!r} twice")


def _check_whip(settings: Settings) -> None:
    for field in ("dialect", "signing_key", "allow_mixed", "swap_channels"):
        if getattr(settings.whip, field):
            raise ValueError(f"whip.{field}: expected it in doors.NAME only")


def _check_tls(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ValueError("tls_cert, tls_key: expected both or none")


def _check_access(settings: Settings) -> None:
    if not (settings.has_token or settings.allow_anonymous or is_loopback(settings.host)):
        raise ValueError(
            f"host: {settings.host!r} is reachable by others, so `token`, `tokens` or `jwt` must be set "
            "(or `allow_anonymous`, on a closed network)"
        )


def _check_thresholds(settings: Settings) -> None:
    if settings.alert_p is not None and settings.alerts_per_hour is not None:
        raise ValueError("alert_p, alerts_per_hour: expected one of them; each sets the threshold")
    if settings.alert_p is not None and settings.clear_p is not None and settings.clear_p >= settings.alert_p:
        raise ValueError(f"clear_p: expected less than alert_p ({settings.alert_p}), got {settings.clear_p}")


_CHECKS = (_check_webhooks, _check_whip, _check_tls, _check_access, _check_thresholds)
"""Rules between settings. Each raises ValueError."""
