"""MkDocs hooks: adds files from outside docs/ to the site, rewrites the links to them, and sets the language of pages.

On GitHub a page links to ../DESIGN.md or ../deploy/router.toml. The site has these files under project/, and the
links are rewritten to that path. A link to any other file outside docs/ is left as it is, and fails the build.
"""

import posixpath
import re
from pathlib import Path

import yaml
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!\w+:|#|/)([^)#\s]+)((?:#[^)\s]*)?)\)")


NAMED = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "DESIGN.md",
    "GLOSSARY.md",
    "LICENSE",
    "README.md",
    "README.zh-CN.md",
    "dashboards/grafana.json",
]


def outside_files() -> list[str]:
    """The files outside docs/ that the site includes, relative to the repository."""
    deploy = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    return NAMED + sorted(path.relative_to(ROOT).as_posix() for path in deploy)


def on_files(files, config):
    for name in outside_files():
        text = (ROOT / name).read_text(encoding="utf-8")
        # The templates of the chart are YAML only once Helm has filled them in; tests/deploy does that.
        if name.endswith((".yaml", ".yml")) and "/templates/" not in name:
            list(yaml.safe_load_all(text))
        files.append(File.generated(config, f"project/{name}", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    here = posixpath.dirname(page.file.src_uri)
    # The page's folder in the repository; pages under project/ come from the root.
    from_root = here.startswith("project")
    folder = here.removeprefix("project").lstrip("/") if from_root else posixpath.join("docs", here)
    known = set(outside_files())

    def rewritten(match):
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        if target in known:
            target = posixpath.join("project", target)
        elif from_root and target.startswith("docs/"):
            target = target.removeprefix("docs/")
        else:
            return match[0]
        return f"]({posixpath.relpath(target, here or '.')}{match[2]})"

    return LINK.sub(rewritten, markdown)


def on_page_context(context, page, config, nav):
    """Chinese pages have a Chinese frame: the language of the page, its search field and its buttons."""
    is_chinese = page.file.src_uri.startswith("zh/") or page.file.src_uri.endswith(".zh-CN.md")
    config.theme["language"] = "zh" if is_chinese else "en"
    return context
