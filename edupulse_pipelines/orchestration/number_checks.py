"""The asset check of students' numbers: whether any is stored with blanks around it."""

from __future__ import annotations

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from edupulse_pipelines.orchestration.checks import counted

NUMBERS_WITHOUT_BLANKS = "numbers_without_blanks"


def number_check_spec(asset: AssetKey) -> AssetCheckSpec:
    """The check, on the asset of students."""
    return AssetCheckSpec(
        NUMBERS_WITHOUT_BLANKS,
        asset=asset,
        description=(
            "No student is stored under a number with blanks around it beside one with the bare number, as earlier "
            "versions took such numbers for two. A warning; `edupulse students merge` joins the two."
        ),
    )


def numbers_without_blanks(padded: int) -> AssetCheckResult:
    """Passed when no number is padded; a warning with how many are."""
    return AssetCheckResult(
        check_name=NUMBERS_WITHOUT_BLANKS,
        passed=not padded,
        severity=AssetCheckSeverity.WARN,
        metadata={"students": padded},
        description=(
            f"{counted(padded, 'student')} stored under a number with blanks around it; where another student has the "
            "bare number, join them with `edupulse students merge`"
            if padded
            else "No number has blanks around it"
        ),
    )
