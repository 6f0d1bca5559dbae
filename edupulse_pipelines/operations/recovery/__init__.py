"""Proof that there is a way back: the drill, which restores what was backed up and compares it, and the standby.

`state` says what is in a database as counts and hashes, `compared` what differs; `scratch` is the folder that the drill
works in and takes away; `drill` is the drill, `champions` its look at models, `drills` the record of those there were.
`standby` makes a second server, looks after it and promotes it. How backups are taken is in `operations.backup`.
"""
