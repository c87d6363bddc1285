"""Optimizers, chosen with --optimizer: one file, one choice.

Contract of a file: `def Optimizer(parameters, *, lr, weight_decay, ...)` that returns a
torch.optim.Optimizer.
"""
