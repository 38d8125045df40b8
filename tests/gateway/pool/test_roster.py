from __future__ import annotations

from gateway.pool import roster
from gateway.pool.messages import Here, PoolModel
from gateway.pool.roster import GONE_S, Roster

MODEL = PoolModel("0123456789ab", "heavy@01234567, calibration 0123456789ab", 48_000)


def here(instance: str, model: str = MODEL.key, *, leaving: bool = False) -> Here:
    return Here(instance, model, f"the model {model}", leaving)


def test_only_verifiers_of_the_model_count_and_others_are_named() -> None:
    known = Roster(MODEL)
    assert (known.able, known.others) == (0, [])
    for instance, model in (("a", MODEL.key), ("b", "else"), ("c", "else"), ("d", MODEL.key)):
        known.update(here(instance, model), 0.0)
    assert (known.able, known.others) == (2, ["the model else"])
    known.update(here("a", leaving=True), 1.0)
    known.update(here("never heard of", leaving=True), 1.0)
    assert known.able == 1
    known.clear()
    assert (known.able, known.others) == (0, [])


def test_one_that_is_silent_is_gone() -> None:
    known = Roster(MODEL)
    known.update(here("a"), 0.0)
    known.update(here("b"), 0.0)
    known.update(here("b"), 5.0)
    known.expire(GONE_S)
    assert known.able == 2
    known.expire(GONE_S + 0.1)
    assert known.able == 1
    known.expire(GONE_S + 5.1)
    assert known.able == 0


def test_a_flood_of_names_is_bounded() -> None:
    known = Roster(MODEL)
    for number in range(roster.MAX_VERIFIERS + 10):
        known.update(here(str(number)), 0.0)
    assert known.able == roster.MAX_VERIFIERS
    known.update(here("0"), 5.0)
    known.expire(GONE_S + 1)
    assert known.able == 1, "those that are known go on being heard"
