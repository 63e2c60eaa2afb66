"""What the site needs beyond Markdown: files of the repository outside docs/, and links to them.

On GitHub a page links to ../DESIGN.md or ../deploy/router.toml. The site has these files under project/, and the
links are turned there. A link to any other file outside docs/ stays as it is, and fails the build.
"""

import posixpath
import re
from pathlib import Path

import yaml
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!\w+:|#|/)([^)#\s]+)((?:#[^)\s]*)?)\)")


def outside() -> list[str]:
    """The files outside docs/ that the site has, relative to the repository."""
    deploy = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    named = ["ARCHITECTURE.md", "CHANGELOG.md", "DESIGN.md", "dashboards/grafana.json"]
    return named + sorted(path.relative_to(ROOT).as_posix() for path in deploy)


def on_files(files, config):
    for name in outside():
        text = (ROOT / name).read_text(encoding="utf-8")
        if name.endswith((".yaml", ".yml")):
            yaml.safe_load(text)
        files.append(File.generated(config, f"project/{name}", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    here = posixpath.dirname(page.file.src_uri)
    # A page's place in the repository; that of the pages under project/ is the root.
    inside = here.startswith("project")
    place = here.removeprefix("project").lstrip("/") if inside else posixpath.join("docs", here)
    known = set(outside())

    def turned(match):
        target = posixpath.normpath(posixpath.join(place, match[1]))
        if target in known:
            target = posixpath.join("project", target)
        elif inside and target.startswith("docs/"):
            target = target.removeprefix("docs/")
        else:
            return match[0]
        return f"]({posixpath.relpath(target, here or '.')}{match[2]})"

    return LINK.sub(turned, markdown)
