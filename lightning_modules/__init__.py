"""What is trained: networks, losses, optimizers, data, and the training of one trial. Knows nothing of tuning."""
