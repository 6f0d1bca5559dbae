"""Encryption of what lies on the disk: the raw archive, refused files, bundles, exports, and the copies of a backup.

`keyring` has the keys: a random one of each district and one of the home, each in a small file `<home>/keys/NAME.age`
that only the operator's age identity opens. `files` encrypts whole files by age, `archives` opens and writes Parquet
with its own modular encryption, so that columns are still read one by one. Plain and encrypted files are read side by
side: the first bytes of a file say what it is. What is encrypted when is decided by the rooms that write; the database
is not encrypted here (docs/privacy.md says what to do about it).
"""
