"""From landed files to record tables: archive, validate, quarantine, merge. Every row is accounted for.

`landing` finds deliveries, `archive` keeps files as they came, `frames` gives rows their types and identities,
`validation` judges them by the Great Expectations suites, `merge` writes good rows, `quarantine` keeps the others,
`load` runs one table's deliveries, each in one transaction. No knowledge of an outside format lives here (that is
`sources`), and nothing is computed from the records (next room: `features`).
"""
