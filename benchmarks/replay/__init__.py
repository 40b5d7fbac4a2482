"""Search strategies compared on training curves that others measured: seconds instead of days.

    python -m benchmarks.replay --surrogate DIR --tasks dev --seeds 5 --budget 40 --strategies ladder,joint --json

problem      what a search sees: a space, and a curve for each configuration
surrogate    LCBench as a network (ONNX): curves of 51 epochs on 34 tasks
table        a grid of final values (.npz): one fidelity
meter        trains by looking up, counts epochs, remembers the incumbent
baselines    Optuna's samplers and pruners, and halving of random draws
strategies   name -> how to run it, tuneladder's own included
reference    best known and median of random, per problem
metrics      normalized regret, means, sign test
"""
