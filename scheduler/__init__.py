"""Learning-rate schedules, chosen with --scheduler: one file, one choice. The simplest example is steplr.py.

Files with `_` are shared parts. A file defines a function
`Scheduler(optimizer, steps_per_epoch, max_epoch, *, options)` that returns a
torch.optim.lr_scheduler.LRScheduler.

    steps_per_epoch: int    optimizer steps in an epoch
    max_epoch: int          epochs of the run

`step()` is called after every optimizer step, not after every epoch. Rates must be finite and not negative,
and continue after `state_dict` and `load_state_dict` as if there had been no interruption: a function of the
number of steps, as LambdaLR takes, does. Rates are multiples of `base_lrs`, which training lowers after steps
that weren't finite. The parameters after `*` become command-line options: annotate each as
`Annotated[type, "help"]`, give it a default, and raise ValueError, naming the flag, if a value is out of
range.

The returned schedule may have a method `after_test(tests_since_best)`: called in every process after each
test of a trained epoch with the number of tests since the lowest EER, 0 if it is this one. Then training
needs a --test_list with labels. What it changes belongs into `state_dict`, as attributes do.
"""
