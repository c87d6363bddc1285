"""Error rates, costs, intervals, calibration and fusion of scores; needs neither PyTorch nor audio."""
