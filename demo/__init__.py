"""The demo: a sample clip goes into a real Blender, the add-on's own operator edits it."""
