import torch


def make(classes=10):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, classes))
