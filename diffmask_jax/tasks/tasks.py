"""Every task: to add one, write its file and name it here."""

from diffmask_jax.tasks.sst import SST

TASKS = {task.name: task for task in (SST,)}
