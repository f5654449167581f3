"""What the commands share: the server, processes that end with them, the environment, Ray."""
