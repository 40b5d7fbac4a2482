"""Augmentations as optional parameters: a spec that wants one searched names it under `search.space`.

They stay out of the default search because each costs a stage, and whether one helps is known from the data: a
mirrored digit is no digit. Those that are named come after everything else: they act against overfitting as
dropout and weight decay do, which cost no time, so what is left for them shows only once the rest stands.
"""

from __future__ import annotations

from search_spaces.parameters import Choice, Float, Parameter

IMAGES: tuple[Parameter, ...] = (
    Choice(
        name="horizontal_flip",
        choices=(0.0, 0.5),
        default=0.0,
        why="share of mirrored images: half of them, or none where left and right differ",
        source="Krizhevsky et al. 2012, NeurIPS, sec. 4.1",
    ),
    Choice(
        name="vertical_flip",
        choices=(0.0, 0.5),
        default=0.0,
        why="share of images upside down: half of them, or none where there is an up",
        source="Cohen & Welling 2016, arXiv:1602.07576",
    ),
    Float(
        name="rotation",
        low=0.0,
        high=30.0,
        default=0.0,
        why="largest angle in degrees: up to 15 for digits, beyond 30 a 6 comes near to a 9",
        source="Simard et al. 2003, ICDAR; Cubuk et al. 2020, arXiv:1909.13719 (30 degrees at most)",
    ),
    Choice(
        name="crop_padding",
        choices=(0, 1, 2, 4),
        ordered=True,
        default=0,
        why="largest shift in pixels: 4 for sides of 32, 1 to 2 for digits",
        source="He et al. 2016, arXiv:1512.03385, sec. 4.2",
    ),
    Float(
        name="colour_jitter",
        low=0.0,
        high=0.8,
        default=0.0,
        why="strength, for images with three channels: 0.4 is usual with labels, 0.8 the most in use",
        source="Chen et al. 2020, arXiv:2002.05709, app. A",
    ),
    Float(
        name="cutout",
        low=0.0,
        high=0.4,
        default=0.0,
        why="hidden share of the area: a quarter was best for ten classes, and 0.4 is the most in use",
        source="DeVries & Taylor 2017, arXiv:1708.04552, sec. 4.1; Zhong et al. 2020, arXiv:1708.04896",
    ),
    Float(
        name="mixup",
        low=0.0,
        high=0.4,
        default=0.0,
        why="alpha: 0 is off, 0.1 to 0.4 helped on large images, and more underfits",
        source="Zhang et al. 2018, arXiv:1710.09412, sec. 3.1",
    ),
)
SERIES: tuple[Parameter, ...] = (
    Float(
        name="time_stretch",
        low=0.0,
        high=0.3,
        default=0.0,
        why="largest change of length: people and machines keep their pace within a third",
        source="Um et al. 2017, arXiv:1706.00527 (time warping, 0.2)",
    ),
    Float(
        name="series_scale",
        low=0.0,
        high=0.3,
        default=0.0,
        why="standard deviation of each channel's factor: 0.1 is usual",
        source="Um et al. 2017, arXiv:1706.00527 (scaling, 0.1)",
    ),
    Float(
        name="series_jitter",
        low=0.0,
        high=0.3,
        default=0.0,
        why="standard deviation of the noise on series of unit variance: 0.05 is usual",
        source="Um et al. 2017, arXiv:1706.00527 (jittering, 0.05)",
    ),
    Float(
        name="time_mask",
        low=0.0,
        high=0.5,
        default=0.0,
        why="longest hidden share of a series: beyond a half, what decides is often gone",
        source="Park et al. 2019, arXiv:1904.08779, sec. 2",
    ),
)
TEXTS: tuple[Parameter, ...] = (
    Float(
        name="word_swap",
        low=0.0,
        high=0.3,
        default=0.0,
        why="share of words that change places: 0.05 to 0.3 helped small sets, more breaks sentences",
        source="Wei & Zou 2019, arXiv:1901.11196, sec. 3",
    ),
    Float(
        name="word_dropout",
        low=0.0,
        high=0.4,
        default=0.0,
        why="share of words that become <unk>: 0.3 was best for averages of words",
        source="Iyyer et al. 2015, ACL, sec. 3.2 and 4.1",
    ),
)
