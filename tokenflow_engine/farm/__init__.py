"""Edits on many machines: Open Job Description's template, run by Ray or by a farm of its own.

`worker_engine` needs the standard library only. `job_template`, `task_session` and `ray_run` need
the farm's environment (`requirements/farm.in`); nothing here loads torch.
"""
