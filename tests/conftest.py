"""For every test: one torch thread a worker, as two busy workers with two threads each wait for each other."""

import torch

torch.set_num_threads(1)
