"""Metrics (METHOD A5): raw scores compared with labels and masks, and summaries over several seeds.

All metrics are computed here from raw scores. anomalib's own metrics are not used: its AUROC squashes scores
outside [0, 1] with a sigmoid, which in float32 makes raw PatchCore scores tie with each other. An undefined value
is NaN, never 0 or 1. Modules import numpy at the top and scipy inside the functions that need it.

`detection.evaluate` computes all metrics of all subsets. `ranking` computes values from counts along a ranking,
`images` applies it to image scores with intervals, `pixels` to maps in blocks of scores, `regions` turns
defects into weights of pixels. `summary` compares two arms over several seeds.
"""
