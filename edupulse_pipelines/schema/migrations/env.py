"""Alembic's entry: runs the versions on the connection that `migrations.upgrade` hands over. No URL is read here."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
