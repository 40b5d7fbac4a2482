"""Alembic's scripts. They travel inside the package, so that an installed wheel can bring a store up to date."""
