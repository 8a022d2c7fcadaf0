"""Pictures, movies and arrays: between the disk and the phases."""
