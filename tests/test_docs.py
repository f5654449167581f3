"""What the documentation says of this repository's own files."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tests_that_pages_name_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)…?`", page.read_text())}
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    written = re.findall(r"^def (test_\w+)", code, re.MULTILINE)
    assert named
    for name in named - {"test_fraction"}:
        assert any(each.startswith(name) for each in written) or _is_a_metric(name), name


def test_links_between_pages_lead_to_files_and_headings() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            file = (page.parent / target) if target else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
                assert anchor in map(_anchor, headings), f"{page.name}: {anchor}"


def _is_a_metric(name: str) -> bool:
    from plumbline.config.metrics import METRICS

    return name in METRICS


def _anchor(heading: str) -> str:
    """The name that a heading has in a link: lower case, hyphens for spaces, no other marks."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
