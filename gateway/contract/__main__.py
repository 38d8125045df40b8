"""``python -m gateway.contract``: writes the committed documents.  [IO]"""

from __future__ import annotations

from pathlib import Path

from gateway.contract.documents import files

FOLDER = Path("docs/reference/contract")

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{FOLDER}: {len(files())} files")
