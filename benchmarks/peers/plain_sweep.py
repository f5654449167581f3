"""`plain_sweep.py TRIALS`: the obvious way to write a sweep: the tutorial's script in a loop, a
nested MLflow run for each trial, one log_metric an epoch. Prints one line of JSON."""

import json
import random
import sys
import time

import mlflow
import torch
from torch import nn, optim


def train(rate: float, optimizer_name: str, epochs: int) -> float:
    torch.manual_seed(42)
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    y = 2 * x
    model = nn.Linear(1, 1)
    criterion = nn.MSELoss()
    kind = {"sgd": optim.SGD, "adam": optim.Adam}[optimizer_name]
    optimizer = kind(model.parameters(), lr=rate)
    for epoch in range(epochs):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mlflow.log_metric("loss", loss.item(), step=epoch + 1)
    return criterion(model(x), y).item()


def main(trials: int) -> None:
    draw = random.Random(42)
    mlflow.set_experiment("plain sweep")
    with mlflow.start_run():
        began = time.perf_counter()
        for _ in range(trials):
            rate, name = 10 ** draw.uniform(-3, -1), draw.choice(["sgd", "adam"])
            with mlflow.start_run(nested=True, run_name=f"lr={rate:.3g} optimizer={name}"):
                mlflow.log_params({"learning_rate": rate, "optimizer": name})
                mlflow.log_metric("train_mse", train(rate, name, epochs=1000))
        print(json.dumps({"trial": (time.perf_counter() - began) / trials}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
