"""Alembic's entry point: runs the revisions on the connection that `migrate` hands over. Knows no setting."""

from alembic import context

from dragoman.adapters.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
