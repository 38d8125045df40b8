"""Models that the gateway does not open."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from detection.signing import read_signing_key, sign_model, signature_of
from gateway.commands.doctor import examine
from gateway.errors import ConfigError
from tests.detection.test_signing import copy_model, write_keys
from tests.gateway.conftest import Serve


async def diagnosis(folder: Path, model: Path | str, key: Path) -> dict[str, tuple[str, str]]:
    """Return what the doctor says of signatures."""
    file = folder / "callscreen.toml"
    file.write_text(f'verifier = "off"\nmodel = "{model}"\nverify_key = "{key}"\njournal = "{folder}/d.sqlite3"\n')
    return {
        one.check: (one.state, one.detail)
        for one in await asyncio.to_thread(examine, file)
        if "key" in one.check or "sign" in one.check
    }


async def test_where_a_key_is_set_only_signed_models_are_opened(tmp_path: Path, serve: Serve) -> None:
    model, (private, public) = copy_model(tmp_path), write_keys(tmp_path)
    with pytest.raises(ConfigError, match=r"^model: .*models must be signed"):
        await serve(model=str(model), verify_key=public)
    with pytest.raises(ConfigError, match=r"^model: .*models must be signed"):
        await serve(verify_key=public)  # the shipped ones are no exception
    with pytest.raises(ConfigError, match=r"^verify_key: .*expected a public Ed25519 key"):
        await serve(model=str(model), verify_key=private)
    assert (await diagnosis(tmp_path, model, public))["signature: model"][0] == "error"
    assert (await diagnosis(tmp_path, model, private))["verify_key"][0] == "error"

    sign_model(model, read_signing_key(private))
    with pytest.raises(ConfigError, match=r"^verifier: .*models must be signed"):
        await serve(model=str(model), verify_key=public, verifier="auto")
    server = await serve(model=str(model), verify_key=public)
    assert server.model.startswith("tinyaudionet@")
    assert (await diagnosis(tmp_path, model, public))["signature: model"][0] == "ok"

    card = model.with_suffix(".json")
    signature_of(card).write_text(signature_of(card).read_text().swapcase())
    assert (await diagnosis(tmp_path, model, public))["signature: model"][0] == "error"
