"""Reads what the user declares and refuses what is wrong before anything is sent."""
