"""Bringing a database to this version's schema, with Alembic. Nothing else imports SQLAlchemy."""
