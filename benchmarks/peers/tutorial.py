"""The PyTorch tutorial's linear regression, bare: no orchestrator, no tracker."""

import torch
from torch import nn, optim


def train(epochs: int = 1000) -> tuple[nn.Linear, list[float]]:
    """The tutorial's loop; returns the model and the loss of every epoch."""
    torch.manual_seed(42)
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    y = 2 * x
    model = nn.Linear(1, 1)
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for epoch in range(epochs):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (epoch + 1) % 100 == 0:
            print(f"Epoch [{epoch + 1}/{epochs}], Loss: {loss.item():.4f}")
    return model, losses


if __name__ == "__main__":
    trained, _ = train()
    print(f"Predicted value for input 5.0: {trained(torch.tensor([[5.0]])).item():.4f}")
