"""Learning-rate schedules, chosen with --scheduler: one file, one choice. The simplest example is steplr.py.

A file defines a function `Scheduler(optimizer, steps_per_epoch, max_epoch, *, options)` that returns a
torch.optim.lr_scheduler.LRScheduler.

    steps_per_epoch: int    optimizer steps in an epoch
    max_epoch: int          epochs of the run

`step()` is called after every optimizer step, not after every epoch. Rates must be finite and not negative,
and continue after `state_dict` and `load_state_dict` as if there had been no interruption: a function of the
number of steps, as LambdaLR takes, does. The parameters after `*` become command-line options: annotate each
as `Annotated[type, "help"]`, give it a default, and raise ValueError, naming the flag, if a value is out of
range.
"""
