"""Pages of the site that lie elsewhere in the repository: a hook of MkDocs, which copies nothing into `docs/`.

The changelog, the rules for contributors, the benchmarks with charts of their tables, and the notebooks of `examples/`.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charts import charts

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[([^][]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def sources() -> dict[str, str]:
    """Where the pages lie, by where they are published."""
    results = (path.name for path in sorted((ROOT / "benchmarks" / "results").glob("*.md")))
    return {
        "changelog.md": "CHANGELOG.md",
        "contributing.md": "CONTRIBUTING.md",
        "benchmarks/index.md": "benchmarks/README.md",
        **{f"benchmarks/{name}": f"benchmarks/results/{name}" for name in results},
        **{f"{path.stem}.md": f"examples/{path.name}" for path in sorted((ROOT / "examples").glob("*.ipynb"))},
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and what they show."""
    from mkdocs.structure.files import File

    for page, source in sources().items():
        text = (ROOT / source).read_text(encoding="utf-8")
        shown: dict[str, bytes] = {}
        if source.endswith(".ipynb"):
            text, shown = notebook(json.loads(text), Path(page).stem)
        elif page.startswith("benchmarks/"):
            text, shown = charts(text, Path(page).stem)
        files.append(File.generated(config, page, content=relinked(text, page, source)))
        for name, content in shown.items():
            files.append(File.generated(config, posixpath.join(posixpath.dirname(page), name), content=content))
    return files


def relinked(text: str, page: str, source: str) -> str:
    """Return a text whose links to pages lead to them from its new place; what is no page is only named."""
    published = {source: page for page, source in sources().items()}

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        to = path.removeprefix("docs/") if path.startswith("docs/") else published.get(path)
        return words if to is None else f"[{words}]({posixpath.relpath(to, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(link, text)


def notebook(cells: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in cells["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                name = f"{stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![what the cell draws]({name})")
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                parts.append("```text\n" + "".join(data["text/plain"]).rstrip("\n") + "\n```")
    return "\n\n".join(parts) + "\n", pictures
