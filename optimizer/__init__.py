"""Optimizers, chosen with --optimizer: one file, one choice. The simplest example is adam.py.

A file defines a function `Optimizer(parameters, *, lr, weight_decay, options) -> torch.optim.Optimizer`. Call
it what PyTorch calls a class, as it builds one. `parameters` are groups as PyTorch's optimizers take them:
the loss, perhaps without any parameter, and the rest of the network, if it isn't frozen, with a `lr` of its
own (--trunk_lr). The groups of the returned optimizer must have the same order and these rates.

The parameters after `*` become command-line options: annotate each as `Annotated[type, "help"]` and give it a
default. `lr` is the learning rate before the schedule; `weight_decay` the decay of all parameters. Values out
of range raise ValueError. The state must survive `state_dict` and `load_state_dict`; with --shard_head, state
tensors with dimensions must have the shape of their parameter. An optimizer without PyTorch's fused kernels
needs all its state tensors from the start: on a GPU a step with infinite gradients is undone by restoring
them, but for those on the CPU, such as a number of steps.
"""
