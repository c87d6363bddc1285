"""Learning-rate schedules, chosen with --scheduler: one file, one choice.

Contract of a file: `def Scheduler(optimizer, steps_per_epoch, max_epoch, *, options)` that returns a
torch LRScheduler. One rule: it is stepped after every optimizer step.
"""
