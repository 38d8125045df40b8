"""All that can be fuzzed, by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import dialects, provider, sip, stored, web, wire

TARGETS: dict[str, Target] = {
    target.name: target
    for targets in (dialects.TARGETS, sip.TARGETS, web.TARGETS, wire.TARGETS, provider.TARGETS, stored.TARGETS)
    for target in targets
}
