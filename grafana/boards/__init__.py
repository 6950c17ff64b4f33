"""Our Grafana dashboards, as Python: ``panels`` is how a panel looks, the other modules are what the panels ask."""
