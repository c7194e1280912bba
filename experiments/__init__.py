"""The registry of experiments. Each is declared in a module for its table, figure or use case, and listed in
:data:`EXPERIMENTS`."""

from goodshot.experiments.demo import DEMO, DEMO_SEARCH
from goodshot.experiments.few_shot import ONESHOT_LITE0
from goodshot.experiments.generate import GENERATE
from goodshot.runner.study.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (DEMO, DEMO_SEARCH, GENERATE, ONESHOT_LITE0)
