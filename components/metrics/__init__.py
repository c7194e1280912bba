"""Metrics (METHOD A5): what raw scores are worth against labels and masks, and what several seeds say.

Everything is computed here from raw scores. anomalib's own metrics are not used: its AUROC squashes scores
outside [0, 1] with a sigmoid, which in float32 ties raw PatchCore scores with each other. An undefined value
is NaN, never 0 or 1. Modules import numpy at the top and scipy inside the functions that need it.

`detection.evaluate` is the door: all metrics of all subsets. `ranking` knows what counts along a ranking are worth,
`images` feeds it image scores and draws intervals, `pixels` feeds it maps in blocks of scores, `regions` turns
defects into weights of pixels. `summary` says what several seeds show together.
"""
