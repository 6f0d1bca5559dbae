"""The adverse events of a label in words, for cards and lists. What counts as one is decided in `settings`."""

from __future__ import annotations

from edupulse_pipelines.settings import LabelSettings


def adverse_events(label: LabelSettings) -> list[str]:
    """Each event as what a student does: `has an incident of severity 4 or more`."""
    events = []
    if label.absence_rule is not None:
        events.append(label.absence_rule.words)
    if label.attendance_below is not None:
        events.append(f"attends less than {100 * label.attendance_below:.3g} % of the sessions")
    if label.failing_below is not None:
        events.append(f"has a mean grade below {label.failing_below:g} in a course")
    if label.serious_severity is not None:
        events.append(f"has an incident of severity {label.serious_severity} or more")
    if label.incident_count is not None:
        events.append(f"has {label.incident_count} incidents or more")
    if label.exit_types:
        events.append(f"leaves school as {' or '.join(exit_type.replace('_', ' ') for exit_type in label.exit_types)}")
    return events
