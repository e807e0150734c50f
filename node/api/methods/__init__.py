"""The methods, a module for each area."""
