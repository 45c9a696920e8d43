"""The only room that knows files and order: plan, execute, manifest, resume, summary."""
