from __future__ import annotations

import html.parser
import re
from dataclasses import replace

import pytest

from edupulse_pipelines.risk.telling.model_card import card_html, card_summary, model_card
from edupulse_pipelines.settings import LabelSettings
from edupulse_pipelines_tests.risk.card_facts import card_facts, measured

SECTIONS = [
    "Intended use", "What is predicted, and for whom", "Data", "Candidates compared", "How good it is", "By subgroup",
    "Explanations and confidence", "Promotion decision", "Limits", "Reproduce",
]  # fmt: skip


def test_the_card_has_every_section_and_figure() -> None:
    card = model_card(card_facts())
    assert re.findall(r"^## (.+)$", card, re.MULTILINE) == SECTIONS
    for said in (
        "School district **north**",
        "within 8 weeks",
        "is absent on 10 % or more of the days enrolled, of at least 10",
        "4,400 | 520 (11.8 %)",
        "**Additive (chosen)** | 0.3921",
        "the budget did not reach it",
        "(44.0 to 60.0)",
        "| Unseen students |",
        "The champion compared with is 2025-01-27-00112233.",
        "**Promoted.**\n\n- The AUC of 0.812 is at least 0.5.\n- Precision among",
        "attendance rate 30d | 0.610",
        f"`{'d' * 64}`",
        "edupulse model reproduce 2025-02-24-abcdef12 --tenant north",
        "previous_attempts",
    ):
        assert said in card, said
    assert card.count("|\n\n") == 5  # every table ends where a text begins
    assert not re.search(r"\b(None|nan)\b", card)


def test_a_small_subgroup_is_not_shown_and_cannot_be_subtracted() -> None:
    card = model_card(card_facts())
    # Everybody less the boys would tell of them: the girls are with them.
    assert "| gender: female and smaller groups | about " in card
    assert "| gender: female |" not in card and "gender: other" not in card
    rows = re.findall(r"^\| (?:\*\*Everybody\*\*|gender: [\w ]+|grade level: \d+) \| (.+?) \|", card, re.MULTILINE)
    counts = [int(row.removeprefix("about ").replace(",", "")) for row in rows if row.startswith("about")]
    assert len(counts) >= 3
    assert all(len(str(count).rstrip("0")) <= 2 for count in counts)
    enough = model_card(card_facts(measures=measured(1.0, small=40)))
    assert "fewer than 10" not in enough and "No subgroup is too small" in enough


def test_the_card_says_by_what_was_audited() -> None:
    """And nothing of what was not: that it is no input holds whatever is audited."""
    said = "Audited by gender, ethnicity, socioeconomic status, grade level. Who has no value is a subgroup of its own."
    assert said in model_card(card_facts())
    name = "metadata.special_education=true"
    measures = [replace(one, subgroup=name) if one.subgroup else one for one in measured(1.0)]
    card = model_card(card_facts(audited=("gender", "metadata.special_education"), measures=measures))
    assert "Audited by gender, special education (metadata)." in card
    assert "| special education (metadata): true |" in card
    assert "Gender, ethnicity, socioeconomic status and grade level are never inputs." in card


def test_what_is_not_known_is_left_out() -> None:
    card = model_card(
        card_facts(
            measures=[], rule_measures=[], champion_measures=[], unseen_measures=[], candidates=[], importance={},
            promoted=None, decision="", leakage_proof="", seed=None, git_revision="", metadata_inputs=[],
            label=LabelSettings(horizon_weeks="exit"),
        )
    )  # fmt: skip
    assert "Promotion decision" not in card and "Candidates compared" not in card
    assert "until the student leaves" in card and "attends less than" not in card
    assert "socioeconomic status, grade level. There are no figures." in card
    assert "Seed" not in card and "Code" not in card
    assert "None" not in card
    for facts in (
        card_facts(promoted=False, decision=""),
        card_facts(promoted=False, decision="Not promoted. It is bad."),
    ):
        assert "Not promoted." in model_card(facts)


def test_the_card_says_whose_rule_of_absence_it_is() -> None:
    card = model_card(card_facts(label=LabelSettings(), absent_day="half"))
    assert "- the student is absent on 10 % or more of the days enrolled, of at least 10" in card
    assert "rule `federal` of the U.S. Department of Education, in force from 2018-07-01 on" in card
    assert "FS195" in card and "half of its sessions or more" in card
    assert (
        "The rule grades the distances to thresholds, nothing in it is trained: 10 % of this school year's days absent;"
        in card
    )
    ended = model_card(card_facts(label=LabelSettings(rule="federal_2013"), absent_day="any"))
    assert "in force from 2013-07-01 to 2018-06-30" in ended and "when any of its sessions was missed" in ended
    own = model_card(card_facts(label=LabelSettings(attendance_below=0.9)))
    assert "attends less than 90 % of the sessions" in own and "Chronic absence" not in own
    assert "nothing in it is trained: 10 % of this school year's sessions missed;" in own


class _Checked(html.parser.HTMLParser):
    """Which tags there are, and whether each is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else() -> None:
    page = card_html(card_facts(figures={"Precision <by> capacity": b"\x89PNG"}))
    checked = _Checked()
    checked.feed(page)
    assert checked.open == []
    assert {"h1", "h2", "table", "figure", "img", "style"} <= checked.seen
    assert "script" not in checked.seen and "link" not in checked.seen
    assert checked.links == ["data:image/png;base64,iVBORw=="]
    assert "Precision &lt;by&gt; capacity" in page
    assert "url(" not in page and "http" not in page
    for section in SECTIONS:
        assert f"<h2>{section}</h2>" in page


def test_what_a_district_wrote_cannot_become_a_page() -> None:
    hostile = "<script>alert(1)</script> | x"
    facts = card_facts(decision=f"Not promoted. {hostile}", metadata_inputs=[hostile])
    assert "<script>" not in card_html(facts)
    assert model_card(card_facts(importance={hostile: 1.0})).count("\\|") == 1


def test_the_summary_fits_into_a_description() -> None:
    summary = card_summary(card_facts())
    assert len(summary) < 5000
    assert "How good it is" in summary and "Promotion decision" in summary and "By subgroup" not in summary
    assert len(card_summary(card_facts(decision="It is so. " * 1000))) < 5000


@pytest.mark.parametrize("write", [model_card, card_html, card_summary])
def test_the_same_facts_give_the_same_card(write) -> None:  # type: ignore[no-untyped-def]
    assert write(card_facts()) == write(card_facts())
