"""MkDocs hooks: fill in what is generated, and bring pages that lie elsewhere in the repository into the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.generate import PAGES

REPOSITORY = Path(__file__).parent.parent
MARK = re.compile(r"<!-- generated: (\w+) -->")
OUTSIDE = {"detection/README.md": "explanation/model-card.md", "CHANGELOG.md": "changelog.md"}
"""Where these are in the site."""
REPORT = "detection/report"
"""The model card shows its pictures."""
LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside."""
    outside = dict(OUTSIDE)
    for path in sorted((REPOSITORY / REPORT).iterdir()):
        if path.suffix in (".md", ".png"):
            outside[f"{REPORT}/{path.name}"] = f"explanation/report/{path.name}"
    for source, place in outside.items():
        files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Fill in the marks; lead links out of the folder to the page in the site, or name the file where there is none.

    A file that is not in the repository stays a link, for the build to complain of.
    """
    here = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        source = posixpath.normpath(posixpath.join("docs", here, target))
        if source in OUTSIDE:
            return f"[{text}]({posixpath.relpath(OUTSIDE[source], here)}{anchor})"
        if not source.startswith("docs/") and (REPOSITORY / source).exists():
            return f"{text} (`{source}`)"
        return found[0]

    return LINK.sub(link, MARK.sub(lambda found: PAGES[found[1]](), markdown))
