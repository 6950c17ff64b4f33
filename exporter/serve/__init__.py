"""HTTP app, web config, scheduler, snapshot swap, status page."""
