"""The registry of experiments. Each is declared in a module for its table, figure or use case, and listed in
:data:`EXPERIMENTS`. Published numbers are data in :mod:`goodshot.experiments.published`."""

from goodshot.experiments.both_systems import BOTH_SYSTEMS
from goodshot.experiments.demo import DEMO, DEMO_SEARCH
from goodshot.experiments.few_shot import ONESHOT_LITE0
from goodshot.experiments.fig1 import FIG1
from goodshot.experiments.fig2 import FIG2
from goodshot.experiments.fig5 import FIG5
from goodshot.experiments.fig6 import FIG6
from goodshot.experiments.fig7 import FIG7
from goodshot.experiments.fig8 import FIG8
from goodshot.experiments.fig9 import FIG9
from goodshot.experiments.fig10 import FIG10
from goodshot.experiments.fusion_fig4 import FUSION_FIG4
from goodshot.experiments.fusion_fig5 import FUSION_FIG5
from goodshot.experiments.fusion_table1 import FUSION_TABLE1
from goodshot.experiments.fusion_table2 import FUSION_TABLE2
from goodshot.experiments.fusion_table3 import FUSION_TABLE3
from goodshot.experiments.fusion_table4 import FUSION_TABLE4
from goodshot.experiments.fusion_table5 import FUSION_TABLE5
from goodshot.experiments.fusion_table6 import FUSION_TABLE6
from goodshot.experiments.generate import GENERATE
from goodshot.experiments.sweep import SWEEP
from goodshot.experiments.synthesize import SYNTHESIZE
from goodshot.experiments.table1 import TABLE1
from goodshot.experiments.table2 import TABLE2
from goodshot.experiments.table3 import TABLE3
from goodshot.runner.study.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    DEMO,
    DEMO_SEARCH,
    GENERATE,
    SYNTHESIZE,
    ONESHOT_LITE0,
    TABLE1,
    TABLE2,
    TABLE3,
    FIG1,
    FIG2,
    FIG5,
    FIG6,
    FIG7,
    FIG8,
    FIG9,
    FIG10,
    SWEEP,
    FUSION_TABLE1,
    FUSION_TABLE2,
    FUSION_TABLE3,
    FUSION_TABLE4,
    FUSION_TABLE5,
    FUSION_TABLE6,
    FUSION_FIG4,
    FUSION_FIG5,
    BOTH_SYSTEMS,
)
