"""Our Grafana dashboards, as Python: ``promql`` asks the catalogue, ``looks`` and ``panels`` are how a panel looks,
``board`` is the frame around them, ``common`` what several dashboards say; the other modules are one dashboard each.
"""
