"""A follower of the chain that holds keys, and knows neither peers nor the daemon."""
