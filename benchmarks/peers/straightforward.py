"""The obvious way to write the same job with Prefect and MLflow: the documentation's calls, one
log_metric an epoch, log_model with its defaults, Prefect's ephemeral server."""

import mlflow
import numpy as np
import torch
from prefect import flow, task
from torch import nn, optim


@task
def generate_data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    return x, 2 * x


@task
def train_model(x: torch.Tensor, y: torch.Tensor, epochs: int, rate: float) -> nn.Linear:
    torch.manual_seed(42)
    model = nn.Linear(1, 1)
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=rate)
    for epoch in range(epochs):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mlflow.log_metric("loss", loss.item(), step=epoch + 1)
        if (epoch + 1) % 100 == 0:
            print(f"Epoch [{epoch + 1}/{epochs}], Loss: {loss.item():.4f}")
    return model


@task
def predict(model: nn.Linear, value: float) -> float:
    return model(torch.tensor([[value]])).item()


@flow
def pipeline(epochs: int = 1000, rate: float = 0.01) -> None:
    mlflow.set_experiment("straightforward")
    with mlflow.start_run():
        mlflow.log_params({"epochs": epochs, "learning_rate": rate})
        x, y = generate_data()
        model = train_model(x, y, epochs, rate)
        prediction = predict(model, 5.0)
        mlflow.log_metric("prediction_5.0", prediction)
        mlflow.pytorch.log_model(model, name="model", input_example=np.array([[5.0], [6.0]], "f4"))
        print(f"Predicted value for input 5.0: {prediction:.4f}")


if __name__ == "__main__":
    pipeline()
