"""Every task: to add one, write its file and name it here."""

from diffmask_jax.tasks.question_lines import QUESTIONS
from diffmask_jax.tasks.squad import SQUAD
from diffmask_jax.tasks.sst import SST
from diffmask_jax.tasks.texts import TEXTS

TASKS = {task.name: task for task in (SST, TEXTS, SQUAD, QUESTIONS)}
