"""All tasks: to add one, write its module and list it here."""

from diffmask_jax.tasks.question_lines import QUESTIONS
from diffmask_jax.tasks.squad import SQUAD
from diffmask_jax.tasks.sst import SST
from diffmask_jax.tasks.texts import TEXTS

TASKS = {task.name: task for task in (SST, TEXTS, SQUAD, QUESTIONS)}
