"""The exporter's own state: tables, transactions, migrations, the writer's lease."""
